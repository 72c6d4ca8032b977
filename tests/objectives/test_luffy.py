"""LUFFY: its numbers by hand, and what it claims."""

from __future__ import annotations

import pytest
import torch

from tests.objectives.by_hand import CAP, evaluate, log
from tgpo.objectives.luffy import LUFFY
from tgpo.types.problem import GroupComposition, Need

# the wrong rollout stands second; the right response is the demonstration
SHOWN = torch.tensor([True, False])


def claim(objective, world):
    """Rollouts climb the probability of being right; demonstrations `f(pi_theta(y_t))`, weighed by their advantage.

    The baseline of a demonstration is the other response's chance, the student's own, and carries no gradient.
    """
    c = 0.5 / (0.5**0.5 + 1e-6) if objective.normalize_std else 0.5
    shaped_ST = world.written_ST / (world.written_ST + objective.gamma)
    beyond_S = world.reward_S - world.success.detach()
    return (world.minus_success(objective) - c * world.on_theirs(beyond_S[:, None] * shaped_ST)) / 2


def test_by_hand():
    """Advantages 1/2 and -1/2: f(0.6) = 6/7 and f(0.25) = 5/7 against the ratio 0.8, over 2 x CAP."""
    expected = (-0.5 * (6 / 7 + 5 / 7) + 0.5 * 0.8) / (2 * CAP)
    assert evaluate(LUFFY(), off_policy_B=SHOWN)[0] == pytest.approx(expected, rel=1e-12)


def test_terms_are_the_two_parts():
    _, answer, _ = evaluate(LUFFY(), off_policy_B=SHOWN)
    assert torch.equal(answer.terms["teacher"] + answer.terms["policy_gradient"], answer.loss_BT)
    assert (answer.terms["teacher"][1] == 0).all()
    assert (answer.terms["policy_gradient"][0] == 0).all()


def test_ratios_are_not_clipped():
    """Off-policy at a ratio of 4 an advantage of 1/2 still counts in full."""
    old = log([0.15, 0.25], [0.5, 1.0])
    found = evaluate(LUFFY(), old_logprobs_BT=old)[0]
    assert found == pytest.approx(-0.5 * (4 + 1 - 0.8) / (2 * CAP), rel=1e-12)


def test_seven_and_one():
    assert LUFFY().mix(0, 8) == GroupComposition(student=7, demonstrations=1)
    assert LUFFY(demonstrations=9).mix(0, 8) == GroupComposition(student=0, demonstrations=8)
    assert LUFFY().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.DEMONSTRATION}


@pytest.mark.parametrize("options", [{"gamma": 0}, {"demonstrations": 0}, {"clip_low": 0.2}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LUFFY(**options)
