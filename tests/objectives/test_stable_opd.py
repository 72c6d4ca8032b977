"""Stable-OPD: its numbers by hand, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import REFERENCE, evaluate
from tgpo.objectives.rkl import RKL
from tgpo.objectives.stable_opd import StableOPD
from tgpo.types.problem import GroupComposition, Need

SHOWN = torch.tensor([False, True])  # the second response is a demonstration


def claim(objective, world):
    """The per-state reverse KL and the divergence from the reference on rollouts, cross-entropy on demonstrations.

    In a pair one of the two responses is a demonstration.
    """
    rollouts = world.reverse_kl + world.reference_part(objective)
    if not objective.demonstrations:
        return rollouts
    return (rollouts + objective.demonstration_weight * world.on_theirs(-world.written_ST.log())) / 2


def test_by_hand():
    """The rollout: ratios 1.2 and 1, teacher over pi_old 1/2 and 2, student over reference 2 and 1/2."""
    teacher = -1.2 * math.log(0.5) - math.log(2)
    k2, k3 = math.log(2) ** 2, (0.5 - 1 + math.log(2)) + (2 - 1 - math.log(2))
    shown = -math.log(0.4)
    for estimator, reference in (("k2", k2), ("k3", k3)):
        objective = StableOPD(reference_kl=0.3, reference_kl_estimator=estimator, demonstration_weight=0.5)
        found, answer, _ = evaluate(objective, off_policy_B=SHOWN, reference_logprobs_BT=REFERENCE)
        assert found == pytest.approx((teacher + 0.3 * reference + 0.5 * shown) / 3, rel=1e-12)
        sums = {name: term[[0, 0, 1], [0, 1, 0]].sum().item() for name, term in answer.terms.items()}
        assert sums == pytest.approx({"teacher": teacher, "reference": reference, "demonstrations": shown})


def test_without_either_it_is_rkl():
    assert evaluate(StableOPD(reference_kl=0, demonstrations=0))[0] == evaluate(RKL())[0]


def test_the_teacher_is_not_read_on_demonstrations():
    taught = evaluate(StableOPD(), off_policy_B=SHOWN, reference_logprobs_BT=REFERENCE)[0]
    some = {"off_policy_B": SHOWN, "reference_logprobs_BT": REFERENCE, "taught_B": ~SHOWN}
    assert evaluate(StableOPD(), **some)[0] == taught


def test_needs_and_mix():
    rkl = RKL().needs
    assert StableOPD().needs == rkl | {Need.REFERENCE_SAMPLED, Need.DEMONSTRATION}
    assert StableOPD(reference_kl=0).needs == rkl | {Need.DEMONSTRATION}
    assert StableOPD(demonstrations=0).needs == rkl | {Need.REFERENCE_SAMPLED}
    assert StableOPD().mix(0, 8) == GroupComposition(student=7, demonstrations=1)
    assert StableOPD(demonstrations=0).mix(0, 8) == GroupComposition(student=8, demonstrations=0)


@pytest.mark.parametrize(
    "options",
    [{"demonstrations": -1}, {"demonstration_weight": -1}, {"demonstration_weight": 1, "demonstrations": 0},
     {"reference_kl_estimator": "k3", "reference_kl": 0}, {"reference_kl": math.nan}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        StableOPD(**options)
