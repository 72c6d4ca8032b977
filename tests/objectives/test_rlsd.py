"""RLSD: its numbers by hand, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import ADVANTAGE, evaluate
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.rlsd import RLSD
from tgpo.types.problem import Need

ALL = (1.0, 0.0, 0.0)


def claim(objective, world):
    """The gradient of `-E[A'_t log pi_theta(a_t)]` with `E[A'_t | rollout] = c (R - success) m_t` held fixed.

    In a pair a right rollout has a positive advantage or none, and a wrong one a negative one or none: the sign, and
    with it the token's weight, is known from the rollout's own reward.
    """
    c = 0.5 / (0.5**0.5 + 1e-6) if objective.normalize_std else 0.5
    sign_S1 = torch.where(world.reward_S == 1, 1.0, -1.0)[:, None]
    evidence_ST = (-sign_S1 * world.log_ratio_ST.detach()).exp()
    evidence_ST = evidence_ST.clamp(1 - objective.ratio_clip, 1 + objective.ratio_clip)
    share = objective.weight[0]
    advantage_S = c * (world.reward_S - world.success.detach())
    advantage_ST = advantage_S[:, None] * (1 - share + share * evidence_ST)
    return world.on_own(-advantage_ST * world.written_ST.log()) + world.reference_part(objective)


def test_by_hand():
    """Teacher over pi_old: 1/2 and 2 where it is right, 1/5, inverted 5, where it is wrong; clipped at 1/2 and 3/2."""
    expected = ADVANTAGE * (-1.2 * 0.5 - 1.0 * 1.5 + 0.8 * 1.5) / 3
    assert evaluate(RLSD(weight=ALL, ratio_clip=0.5))[0] == pytest.approx(expected, rel=1e-12)
    half = ADVANTAGE * (-1.2 * 0.75 - 1.0 * 1.25 + 0.8 * 1.25) / 3
    assert evaluate(RLSD(weight=(0.5, 0, 0), ratio_clip=0.5))[0] == pytest.approx(half, rel=1e-12)


def test_no_token_changes_its_sign():
    far = torch.tensor([[-40.0, 0.0], [-40.0, 0.0]], dtype=torch.float64)
    ours = evaluate(RLSD(weight=ALL, ratio_clip=0.9), old_logprobs_BT=far)[2].advantage_BT
    assert torch.equal(ours.sign(), evaluate(GRPO())[2].advantage_BT.sign())
    assert ours.abs().max() <= ADVANTAGE * 1.9 + 1e-12


def test_share_falls_to_0_and_is_logged():
    credits = [evaluate(RLSD(), k)[2] for k in (1, 26, 51, 80)]
    assert [c.scalars["loss/teacher_weight"] for c in credits] == pytest.approx([0.5, 0.25, 0.0, 0.0])
    assert evaluate(RLSD(), 80)[0] == evaluate(GRPO())[0]


def test_a_token_not_scored_by_the_teacher_is_grpos():
    found = evaluate(RLSD(weight=ALL, ratio_clip=0.5), taught_B=torch.tensor([True, False]))[0]
    assert found == pytest.approx(ADVANTAGE * (-1.2 * 0.5 - 1.0 * 1.5 + 0.8) / 3, rel=1e-12)


def test_needs():
    assert RLSD().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED}
    assert RLSD(reference_kl=0.1).needs == RLSD().needs | {Need.REFERENCE_SAMPLED}


@pytest.mark.parametrize(
    "options",
    [{"weight": (1.5, 0, 0)}, {"weight": (0.5, 0, math.nan)}, {"ratio_clip": 0}, {"ratio_clip": 1.0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RLSD(**options)
