"""KDRL: its numbers by hand, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import ADVANTAGE, evaluate
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.kdrl import KDRL
from tgpo.types.problem import Need

K2 = [0.5 * math.log(r) ** 2 for r in (0.6 / 0.25, 0.25 / 0.5, 0.4 / 0.1)]
BASE = evaluate(GRPO())[0]


def claim(objective, world):
    """The probability of being right, and the per-state reverse KL.

    With a mask the KL's expectation is over masked rollouts alone, and since the mask looks at the whole rollout, what
    is left is no state's KL: the expected gradient is that of `E[m(y) 1/2 sum_t (log rho_t)^2]` with y's probability
    held fixed. The other rollout of the pair is wrong with probability 1 - success.
    """
    wrong_S = 1 - world.reward_S
    guided_S = {
        "none": torch.ones_like(wrong_S),
        "incorrect": wrong_S,
        "unsolved_group": wrong_S * (1 - world.success.detach()),
    }[objective.mask]
    beta = objective.beta[0] if objective.schedule == "linear" else objective.beta
    kl = world.reverse_kl if objective.mask == "none" else world.on_own(guided_S[:, None] * world.log_ratio_ST**2 / 2)
    return world.minus_success(objective) + world.reference_part(objective) + beta * kl


def test_by_hand():
    assert evaluate(KDRL(beta=0.1))[0] == pytest.approx(BASE + 0.1 * sum(K2) / 3, rel=1e-12)
    assert evaluate(KDRL(beta=0.0))[0] == pytest.approx(BASE, rel=1e-12)


def test_masks():
    """The second rollout is the wrong one; the mean is still over all three tokens."""
    assert evaluate(KDRL(beta=0.1, mask="incorrect"))[0] == pytest.approx(BASE + 0.1 * K2[2] / 3, rel=1e-12)
    assert evaluate(KDRL(beta=0.1, mask="unsolved_group"))[0] == pytest.approx(BASE, rel=1e-12)
    none_right = torch.zeros(2, dtype=torch.float64)
    everywhere = evaluate(KDRL(beta=0.1, mask="unsolved_group"), reward_B=none_right)[0]
    assert everywhere == pytest.approx(0.1 * sum(K2) / 3, rel=1e-12)


def test_in_the_reward():
    a = [ADVANTAGE + 0.1 * math.log(0.25 / 0.5), ADVANTAGE + 0.1 * math.log(0.5 / 0.25)]
    b = -ADVANTAGE + 0.1 * math.log(0.1 / 0.5)
    expected = -(1.2 * a[0] + 1.0 * a[1] + 0.8 * b) / 3
    assert evaluate(KDRL(beta=0.1, form="reward"))[0] == pytest.approx(expected, rel=1e-12)


def test_schedule():
    objective = KDRL(beta=(0.5, 0.1, 0.2), schedule="linear")
    weights = [evaluate(objective, k)[2].scalars["loss/teacher_weight"] for k in (1, 2, 9)]
    assert weights == pytest.approx([0.5, 0.4, 0.2])


def test_needs():
    assert KDRL().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED}


@pytest.mark.parametrize(
    "options",
    [{"beta": -1}, {"beta": float("inf")}, {"beta": (1, 2, 3)}, {"schedule": "linear"}, {"mask": "wrong"}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        KDRL(**options)
