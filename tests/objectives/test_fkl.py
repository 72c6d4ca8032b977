"""Forward KL: its numbers by hand, and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.objectives.by_hand import STUDENT, evaluate
from tgpo.objectives.fkl import FKL
from tgpo.types.problem import Need


def claim(objective, world):
    """The forward KL in the student's own states; over a top-k, with the shares that are renormalised."""
    if objective.topk is None:
        return world.forward_kl
    best = world.theirs_STV.topk(min(objective.topk, 3))
    theirs, ours = best.values / best.values.sum(-1, keepdim=True), world.ours_STV.gather(-1, best.indices)
    if objective.renormalize == "both":
        ours = ours / ours.sum(-1, keepdim=True)
    return world.on_own((theirs * (theirs / ours).log()).sum(-1))


def test_whole_vocabulary():
    """The teacher (3/4, 1/4), the student (1/2, 1/2)."""
    ours, theirs = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert FKL().divergence(ours, theirs).item() == pytest.approx(expected, rel=1e-6)
    student = replace(STUDENT, divergence_BT=torch.tensor([[0.3, 0.6], [0.9, 5.0]], dtype=torch.float64))
    assert evaluate(FKL(), student=student)[0] == pytest.approx(0.6)


def test_topk_renormalises_the_teacher_alone():
    pairs = [((0.2, 0.4), (3 / 4, 1 / 4)), ((0.25, 0.5), (2 / 3, 1 / 3)), ((0.1, 0.4), (3 / 4, 1 / 4))]
    expected = sum(t * math.log(t / s) for ours, theirs in pairs for s, t in zip(ours, theirs, strict=True)) / 3
    assert evaluate(FKL(topk=2))[0] == pytest.approx(expected, rel=1e-12)
    shares = [tuple(s / sum(ours) for s in ours) for ours, _ in pairs]
    both = sum(t * math.log(t / s) for ours, (_, theirs) in zip(shares, pairs, strict=True)
               for s, t in zip(ours, theirs, strict=True)) / 3  # fmt: skip
    assert evaluate(FKL(topk=2, renormalize="both"))[0] == pytest.approx(both, rel=1e-12)


def test_needs():
    assert FKL().needs == {Need.TEACHER_FULL}
    assert FKL(topk=5).needs == {Need.TEACHER_TOPK}
    assert FKL(topk=5).divergence is None
    assert FKL(topk=5).teacher_topk == 5


@pytest.mark.parametrize("options", [{"topk": 0}, {"renormalize": "both"}, {"renormalize": "both", "topk": 1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FKL(**options)
