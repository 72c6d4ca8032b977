"""IW-OPD: its numbers by hand, `rkl` as its special case, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.laws.world import SEQUENCES, batch_of, gradient, loss_of, table
from tests.objectives.by_hand import OLD, evaluate
from tgpo.objectives.iw_opd import IWOPD
from tgpo.objectives.rkl import RKL
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal


def claim(objective, world):
    """No divergence's: each token's log-probability times its weighted log-ratio, held fixed."""
    d_ST = -world.log_ratio_ST.detach()
    passed = torch.stack([d_ST[:, :t].abs().sum(1) for t in range(d_ST.shape[1])], 1) / d_ST.abs().sum(1, keepdim=True)
    weighted_ST = (1 + objective.gamma * (1 - passed)) * d_ST
    return -world.on_own(weighted_ST * world.written_ST.log())


def test_by_hand():
    """First rollout: |d| of log 2 twice, so half has passed at the second token; the second has one token."""
    a, b, c = math.log(0.25 / 0.5), math.log(0.5 / 0.25), math.log(0.1 / 0.5)
    expected = -(1.2 * 1.5 * a + 1.25 * b + 0.8 * 1.5 * c) / 3
    assert evaluate(IWOPD())[0] == pytest.approx(expected, rel=1e-12)


def test_at_0_it_is_rkl():
    policy, group_B = table(0).requires_grad_(True), torch.zeros(27, dtype=torch.long)
    old = policy.detach() + 0.3 * table(5)
    losses = [loss_of(o, policy, batch_of(SEQUENCES, old, table(1), group_B, o)) for o in (IWOPD(gamma=0), RKL())]
    assert torch.equal(*losses)
    assert torch.equal(*(gradient(loss, policy) for loss in losses))


def test_a_teacher_that_agrees_everywhere_has_no_weight_to_give():
    """A sum of 0 divides nothing."""
    credit = evaluate(IWOPD(), teacher=TeacherSignal(OLD))[2]
    assert torch.equal(credit.advantage_BT, torch.zeros_like(OLD))


def test_needs():
    assert IWOPD().needs == {Need.TEACHER_SAMPLED, Need.OLD_LOGPROBS}


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="gamma"):
        IWOPD(gamma=-1)
