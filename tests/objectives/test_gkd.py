"""GKD: its divergence by hand, its ends, its mix, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tgpo.functional.divergence import generalized_jsd, kl
from tgpo.objectives.gkd import GKD
from tgpo.types.problem import GroupComposition, Need

OURS, THEIRS = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.75, 0.25]]).double().log()


def claim(objective, world):
    """The divergence in the states of both, each in its share of the responses."""
    beta, ours, theirs = objective.beta, world.ours_STV, world.theirs_STV
    mixture = (1 - beta) * ours + beta * theirs
    from_theirs, from_ours = (theirs * (theirs / mixture).log()).sum(-1), (ours * (ours / mixture).log()).sum(-1)
    loss_ST = {0.0: from_theirs, 1.0: from_ours}.get(beta, beta * from_theirs + (1 - beta) * from_ours)
    share = objective.on_policy_fraction
    return share * world.on_own(loss_ST) + (1 - share) * world.on_theirs(loss_ST)


def test_by_hand():
    """M = (5/8, 3/8) at beta 1/2."""
    theirs = 0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375)
    ours = 0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375)
    assert GKD().divergence(OURS, THEIRS).item() == pytest.approx((theirs + ours) / 2, rel=1e-12)


def test_ends():
    forward, reverse = kl(THEIRS, OURS), kl(OURS, THEIRS)
    assert torch.equal(GKD(beta=0).divergence(OURS, THEIRS), forward)
    assert torch.equal(GKD(beta=1).divergence(OURS, THEIRS), reverse)
    # the limits of the sum over beta (1 - beta), to first order
    for beta, end in ((1e-6, forward), (1 - 1e-6, reverse)):
        assert (generalized_jsd(OURS, THEIRS, beta) / 1e-6).item() == pytest.approx(end.item(), rel=1e-4)


def test_what_one_side_rules_out():
    """Tokens of probability 0: no NaN; only KL(p || q) with q = 0 where p is not is infinite."""
    certain = torch.tensor([[1.0, 0.0]]).double().log()
    assert generalized_jsd(certain, THEIRS, 0.5).isfinite().all()
    assert kl(certain, THEIRS).item() == pytest.approx(-math.log(0.75))
    assert kl(THEIRS, certain).item() == math.inf


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.7, 0.99, 1.0])
def test_the_mix_is_that_fraction_over_the_batch(fraction):
    mixes = [GKD(on_policy_fraction=fraction).mix(group, 10) for group in range(10)]
    assert all(sum(mix) == 10 for mix in mixes)
    assert sum(mix.student for mix in mixes) == round(100 * fraction)


def test_needs():
    assert GKD().needs == {Need.TEACHER_FULL}
    assert GKD(on_policy_fraction=0.5).needs == {Need.TEACHER_FULL, Need.DEMONSTRATION}
    assert GKD().mix(3, 8) == GroupComposition(8, 0)


@pytest.mark.parametrize("options", [{"beta": -0.1}, {"beta": 1.1}, {"on_policy_fraction": 2}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GKD(**options)
