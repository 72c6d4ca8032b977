"""CHORD: its numbers by hand, its parts reduced each by itself, its schedule, and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.objectives.by_hand import BATCH, MASK, STUDENT, evaluate
from tgpo.functional.schedule import warmup_then_cosine
from tgpo.objectives.chord import CHORD
from tgpo.types.problem import GroupComposition, Need

# a third response, the demonstration: two tokens that the student gives 0.2 and 0.5
DEMONSTRATED = {
    "tokens": replace(
        BATCH.tokens,
        prompt_BP=torch.empty(3, 0, dtype=torch.long),
        prompt_mask_BP=torch.empty(3, 0, dtype=torch.long),
        response_BT=torch.tensor([[1, 5], [6, 0], [2, 3]]),
        mask_BT=torch.cat([MASK, torch.ones(1, 2, dtype=torch.float64)]),
    ),
    "group_B": torch.tensor([0, 0, 0]),
    "off_policy_B": torch.tensor([False, False, True]),
    "reward_B": torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64),
    "old_logprobs_BT": torch.cat([BATCH.old_logprobs_BT, torch.zeros(1, 2, dtype=torch.float64)]),
    "teacher": None,
}
WRITTEN = torch.cat([STUDENT.logprobs_BT, torch.tensor([[0.2, 0.5]], dtype=torch.float64).log()])
WITH_DEMONSTRATION = replace(STUDENT, logprobs_BT=WRITTEN, entropy_BT=WRITTEN, at_teacher_topk_BTK=None)
ADVANTAGE = 0.5 / (math.sqrt(0.5) + 1e-6)  # of the student's two alone: the demonstration's reward is not among them


def of_three(objective, step=1, **changes):
    return evaluate(objective, step, WITH_DEMONSTRATION, **(DEMONSTRATED | changes))


def claim(objective, world):
    """A group of one rollout and one demonstration: the rollout has nobody to compare itself with."""
    mu, ours = objective.mu_peak, world.written_ST
    factor = (ours * (1 - ours)).detach() if objective.phi else torch.ones_like(ours)
    reference = (1 - mu) * world.reference_part(objective)
    return reference - mu * world.on_theirs(factor * ours.log())


def stops_gradient(objective):
    return objective.phi


def test_by_hand():
    """The rollouts' mean is over their three tokens and the demonstration's over its two."""
    policy = -(1.2 * ADVANTAGE + ADVANTAGE - 0.8 * ADVANTAGE) / 3
    imitation = -(0.2 * 0.8 * math.log(0.2) + 0.5 * 0.5 * math.log(0.5)) / 2
    assert of_three(CHORD(mu_peak=0.3, mu_valley=0.3))[0] == pytest.approx(0.7 * policy + 0.3 * imitation, rel=1e-12)
    plain = -(math.log(0.2) + math.log(0.5)) / 2
    found = of_three(CHORD(mu_peak=1.0, mu_valley=1.0, phi=False))[0]
    assert found == pytest.approx(plain, rel=1e-12)
    by_sequence = of_three(CHORD(mu_peak=0.3, mu_valley=0.3, reduction="sequence"))[0]
    # two rollouts' means, and the demonstration's
    two = -((1.2 * ADVANTAGE + ADVANTAGE) / 2 - 0.8 * ADVANTAGE) / 2
    assert by_sequence == pytest.approx(0.7 * two + 0.3 * imitation, rel=1e-12)


def test_the_parts_are_logged_as_they_add_up():
    loss, answer, credit = of_three(CHORD(mu_peak=0.3, mu_valley=0.3))
    parts = sum((term * credit.mask_BT).sum() / credit.mask_BT.sum() for term in answer.terms.values())
    assert parts.item() == pytest.approx(loss, rel=1e-12)
    assert credit.scalars == {"loss/teacher_weight": 0.3}


def test_without_demonstrations_the_rollouts_are_what_they_were():
    """As where the teacher got a problem wrong: only (1 - mu) of GRPO is left."""
    assert evaluate(CHORD(mu_peak=0.0, mu_valley=0.0))[0] * 0.7 == pytest.approx(
        evaluate(CHORD(mu_peak=0.3, mu_valley=0.3))[0], rel=1e-12
    )


def test_the_share_rises_and_falls():
    shares = [warmup_then_cosine(k, 0.8, 0.2, 4, 10) for k in (1, 2, 4, 5, 10, 15, 99)]
    assert shares == pytest.approx([0.2, 0.4, 0.8, 0.8, 0.5, 0.2, 0.2])
    assert warmup_then_cosine(1, 0.3, 0.1, 0, 0) == 0.1  # no way from the one to the other
    assert of_three(CHORD(mu_peak=0.8, mu_valley=0.2, mu_decay_steps=10), 6)[2].scalars["loss/teacher_weight"] == 0.5


def test_the_mix_and_the_needs():
    assert CHORD(demonstrations=2).mix(0, 8) == GroupComposition(6, 2)
    assert CHORD().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.DEMONSTRATION}


@pytest.mark.parametrize(
    "options", [{"mu_peak": 1.1}, {"mu_valley": -0.1}, {"mu_decay_steps": -1}, {"demonstrations": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CHORD(**options)
