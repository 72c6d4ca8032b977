"""EOPD: its numbers by hand, its threshold, and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.objectives.by_hand import STUDENT, evaluate
from tgpo.objectives.eopd import EOPD
from tgpo.objectives.rkl import RKL
from tgpo.types.problem import Need

SURE, UNSURE = [0.9, 0.05, 0.05], [0.4, 0.35, 0.25]  # entropies of 0.394 and 1.081 nats
TEACHER_NV = torch.tensor([SURE, UNSURE], dtype=torch.float64).log()
STUDENT_NV = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], dtype=torch.float64).log()
# what the policy would hand over: 0 where the teacher is sure
FORWARD = torch.tensor([[0.0, 0.0], [0.3, 0.0]], dtype=torch.float64)


def claim(objective, world):
    """The per-state reverse KL, and the forward KL on the teacher's best in the states where it is uncertain."""
    ours, theirs = world.ours_STV, world.theirs_STV
    best = theirs.topk(min(objective.topk, 3))
    shares = best.values / best.values.sum(-1, keepdim=True)
    forward_ST = (shares * (shares / ours.gather(-1, best.indices)).log()).sum(-1)
    reverse_ST = (ours * (ours / theirs).log()).sum(-1)
    uncertain_ST = (-(theirs * theirs.log()).sum(-1) > objective.entropy_threshold).double()
    if objective.where_uncertain == "forward":
        reverse_ST = (1 - uncertain_ST) * reverse_ST
    return world.on_own(reverse_ST + uncertain_ST * forward_ST)


def test_the_rows_above_the_threshold_alone_have_a_forward_kl():
    found = EOPD(topk=2).divergence(STUDENT_NV, TEACHER_NV)
    shares = [0.4 / 0.75, 0.35 / 0.75]
    expected = shares[0] * math.log(shares[0] / 0.6) + shares[1] * math.log(shares[1] / 0.3)
    assert found.tolist() == pytest.approx([0.0, expected], rel=1e-12)
    everywhere = EOPD(entropy_threshold=0).divergence(STUDENT_NV, TEACHER_NV)
    assert (everywhere > 0).all()


def test_a_teacher_that_rules_tokens_out_is_sure():
    certain = torch.tensor([[1.0, 0.0, 0.0]]).double().log()
    assert EOPD().divergence(STUDENT_NV[:1], certain).tolist() == [0.0]


def test_by_hand():
    student = replace(STUDENT, divergence_BT=FORWARD)
    reverse, base = evaluate(RKL())[0], [1.2 * math.log(0.25 / 0.5), math.log(0.5 / 0.25)]
    assert evaluate(EOPD(), student=student)[0] == pytest.approx(reverse + 0.3 / 3, rel=1e-12)
    alone = evaluate(EOPD(where_uncertain="forward"), student=student)[0]
    assert alone == pytest.approx((-sum(base) + 0.3) / 3, rel=1e-12)


def test_needs():
    assert EOPD().needs == {Need.TEACHER_SAMPLED, Need.OLD_LOGPROBS, Need.TEACHER_FULL}


@pytest.mark.parametrize("options", [{"entropy_threshold": -1}, {"topk": 1}, {"where_uncertain": "reverse"}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        EOPD(**options)
