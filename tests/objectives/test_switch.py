"""Switch: one loss and then the other, each to the last digit, and what the two claim."""

from __future__ import annotations

import pytest

from tests.objectives.by_hand import evaluate
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.rkl import RKL
from tgpo.objectives.switch import Switch
from tgpo.types.problem import Need


def claim(objective, world):
    """The world's gradients are those of the first step."""
    if objective.last_distilled:
        return world.reverse_kl
    return world.minus_success(objective) + world.reference_part(objective)


@pytest.mark.parametrize(
    ("step", "part", "term"), [(1, RKL, "teacher"), (3, RKL, "teacher"), (4, GRPO, "policy_gradient")]
)
def test_is_rkl_up_to_its_step_and_grpo_after_it(step, part, term):
    loss, answer, credit = evaluate(Switch(last_distilled=3), step)
    assert loss == evaluate(part(), step)[0]
    assert list(answer.terms) == [term]
    assert credit.scalars == {"loss/teacher_weight": float(part is RKL)}


def test_needs_both_at_all_times():
    assert Switch().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED}
    assert Switch(last_distilled=0).needs == GRPO().needs


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="last_distilled"):
        Switch(last_distilled=-1)
