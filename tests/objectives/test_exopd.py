"""ExOPD: its numbers by hand, `rkl` as its special case, and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.laws.world import SEQUENCES, batch_of, gradient, loss_of, table
from tests.objectives.by_hand import REFERENCE, evaluate
from tgpo.objectives.exopd import ExOPD
from tgpo.objectives.rkl import RKL
from tgpo.types.problem import Need


def claim(objective, world):
    """The per-state reverse KL to `pi_T^l pi_ref^(1-l)`, normalised in each state.

    The expected gradient in a state is `-sum_v grad pi(v) A(v)`, and `A(v) = log q(v) + log Z - log pi(v)`: log Z is
    the same for all v and cancels.
    """
    rate = objective.extrapolation
    power_STV = world.theirs_STV**rate * world.reference_STV ** (1 - rate)
    target_STV = power_STV / power_STV.sum(-1, keepdim=True)
    return world.on_own((world.ours_STV * (world.ours_STV / target_STV).log()).sum(-1))


def test_by_hand():
    """At l = 2: A = 2 log(pi_T / pi_ref) - log(pi_old / pi_ref), for ratios 1.2, 1 and 0.8."""
    a = 2 * math.log(0.25 / 0.3) - math.log(0.5 / 0.3)
    b = 2 * math.log(0.5 / 0.5) - math.log(0.25 / 0.5)
    c = 2 * math.log(0.1 / 0.8) - math.log(0.5 / 0.8)
    found = evaluate(ExOPD(extrapolation=2.0), reference_logprobs_BT=REFERENCE)[0]
    assert found == pytest.approx(-(1.2 * a + b + 0.8 * c) / 3, rel=1e-12)


@pytest.mark.parametrize("reference", [None, 7, 8])
def test_at_1_it_is_rkl_whatever_the_reference(reference):
    """Loss and gradient, a step away from pi_old so that some ratios are clipped."""
    policy, group_B = table(0).requires_grad_(True), torch.zeros(27, dtype=torch.long)
    old = policy.detach() + 0.3 * table(5)
    losses = []
    for objective in (ExOPD(extrapolation=1.0), RKL()):
        batch = batch_of(SEQUENCES, old, table(1), group_B, objective)
        if reference is not None:
            batch = replace(batch, reference_logprobs_BT=table(reference)[0, 0].log_softmax(-1)[SEQUENCES])
        losses.append(loss_of(objective, policy, batch))
    ours, theirs = losses
    assert torch.equal(ours, theirs)
    assert torch.equal(gradient(ours, policy), gradient(theirs, policy))


def test_needs():
    assert ExOPD().needs == {Need.TEACHER_SAMPLED, Need.OLD_LOGPROBS, Need.REFERENCE_SAMPLED}
    assert ExOPD(extrapolation=1).needs == RKL().needs


@pytest.mark.parametrize("options", [{"extrapolation": -1}, {"extrapolation": float("inf")}, {"clip_low": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ExOPD(**options)
