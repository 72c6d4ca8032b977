"""RKL and its six estimators: their numbers by hand, and what they claim."""

from __future__ import annotations

import math

import pytest

from tests.objectives.by_hand import evaluate, log
from tgpo.objectives.rkl import RKL
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal

LOG_RHO = [math.log(0.6 / 0.25), math.log(0.25 / 0.5), math.log(0.4 / 0.1)]


def claim(objective, world):
    """All descend the per-state reverse KL, but for k3 (biased: the FORWARD KL) and a top-k that is not everything."""
    if objective.estimator == "k3_loss":
        return world.forward_kl
    if objective.estimator == "topk_loss" and objective.topk < 3:
        best = world.theirs_STV.topk(objective.topk)
        theirs, ours = best.values, world.ours_STV.gather(-1, best.indices)
        theirs, ours = theirs / theirs.sum(-1, keepdim=True), ours / ours.sum(-1, keepdim=True)
        return world.on_own((ours * (ours / theirs).log()).sum(-1))
    return world.reverse_kl


def stops_gradient(objective):
    return objective.estimator == "score_function"


def test_k1_in_the_advantage():
    a, b, c = math.log(0.25 / 0.5), math.log(0.5 / 0.25), math.log(0.1 / 0.5)
    assert evaluate(RKL())[0] == pytest.approx((-1.2 * a - b - 0.8 * c) / 3, rel=1e-12)


def test_as_a_loss():
    k2 = sum(0.5 * x * x for x in LOG_RHO) / 3
    k3 = sum(math.exp(-x) - 1 + x for x in LOG_RHO) / 3
    score = sum(x * math.log(p) for x, p in zip(LOG_RHO, (0.6, 0.25, 0.4), strict=True)) / 3
    assert evaluate(RKL(estimator="k2_loss"))[0] == pytest.approx(k2, rel=1e-12)
    assert evaluate(RKL(estimator="k3_loss"))[0] == pytest.approx(k3, rel=1e-12)
    assert evaluate(RKL(estimator="score_function"))[0] == pytest.approx(score, rel=1e-12)


def test_topk_loss_renormalises_both():
    """At the three tokens: student (1/3, 2/3), (1/3, 2/3), (1/5, 4/5); teacher (3/4, 1/4), (2/3, 1/3), (3/4, 1/4)."""
    pairs = [((1 / 3, 2 / 3), (3 / 4, 1 / 4)), ((1 / 3, 2 / 3), (2 / 3, 1 / 3)), ((1 / 5, 4 / 5), (3 / 4, 1 / 4))]
    expected = sum(s * math.log(s / t) for ours, theirs in pairs for s, t in zip(ours, theirs, strict=True)) / 3
    assert evaluate(RKL(estimator="topk_loss", topk=2))[0] == pytest.approx(expected, rel=1e-12)


def test_centered_subtracts_the_states_mean():
    """R at the two best tokens of pi_old (0.5, 0.25), where the teacher has (0.25, 0.25): log 1/2 and 0."""
    old_best = log([[0.5, 0.25], [0.25, 0.25]], [[0.5, 0.5], [1.0, 1.0]])
    teacher_there = log([[0.25, 0.25], [0.5, 0.25]], [[0.1, 0.9], [1.0, 1.0]])
    signal = TeacherSignal(sampled_logprobs_BT=log([0.25, 0.5], [0.1, 1.0]), at_student_topk_BTK=teacher_there)
    a = math.log(0.5) - 0.5 * math.log(0.5)
    b = math.log(2.0) - 0.25 * math.log(2.0)
    c = math.log(0.2) - 0.5 * (math.log(0.2) + math.log(1.8))
    found = evaluate(RKL(estimator="centered", topk=2), teacher=signal, old_topk_logprobs_BTK=old_best)[0]
    assert found == pytest.approx((-1.2 * a - b - 0.8 * c) / 3, rel=1e-12)


def test_topk_of_the_estimator_unless_given():
    assert [RKL(estimator=e).topk for e in ("k2_loss", "topk_loss", "centered")] == [0, 20, 1024]
    assert (RKL(estimator="topk_loss").teacher_topk, RKL(estimator="centered").student_topk) == (20, 1024)
    assert (RKL(estimator="centered").teacher_topk, RKL().student_topk) == (0, 0)


def test_needs():
    assert RKL().needs == {Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED}
    assert RKL(estimator="k2_loss").needs == {Need.TEACHER_SAMPLED}
    assert RKL(estimator="topk_loss").needs == {Need.TEACHER_TOPK}
    assert RKL(estimator="centered").needs == RKL().needs | {Need.TEACHER_AT_STUDENT_TOPK}


@pytest.mark.parametrize(
    "options",
    [{"topk": 5}, {"topk": 1, "estimator": "topk_loss"}, {"topk": 0, "estimator": "centered"}, {"topk": -1},
     {"estimator": "k4_loss"}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RKL(**options)
