"""SDPO, and with it OPSD and SDFT: the divergence by hand, its limits, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import STUDENT, evaluate, log
from tgpo.functional.divergence import clipped_jsd, generalized_jsd, topk_distributions, with_tail
from tgpo.objectives.sdpo import SDPO
from tgpo.types.problem import Need
from tgpo.types.scores import StudentScores
from tgpo.types.teacher import TeacherSignal

# at pi_old's two best tokens; the rest of the student has 0.4, 0.25 and 0.5, that of the teacher 0.2, 0.25 and 0
AT_BEST = log([[0.2, 0.4], [0.25, 0.5]], [[0.1, 0.4], [1.0, 1.0]])
TEACHER_THERE = log([[0.6, 0.2], [0.5, 0.25]], [[0.75, 0.25], [1.0, 1.0]])
TOPK = {
    "student": StudentScores(STUDENT.logprobs_BT, STUDENT.entropy_BT, at_old_topk_BTK=AT_BEST),
    "teacher": TeacherSignal(at_student_topk_BTK=TEACHER_THERE),
}


def claim(objective, world):
    """The divergence in the states of the student, on the tokens that it finds likeliest there.

    On-policy the ratio is 1, so its cap does not show; which tokens are the best carries no gradient.
    """
    ours, theirs = world.ours_STV, world.theirs_STV
    if objective.topk is not None and objective.topk < 3:
        best = ours.detach().topk(objective.topk).indices
        ours, theirs = ours.gather(-1, best), theirs.gather(-1, best)
        if objective.tail:
            ours, theirs = (torch.cat([p, 1 - p.sum(-1, keepdim=True)], -1) for p in (ours, theirs))
        else:
            ours, theirs = (p / p.sum(-1, keepdim=True) for p in (ours, theirs))
    return world.on_own(entries(ours, theirs, objective.beta, objective.entry_clip).sum(-1))


def entries(ours, theirs, beta, most):
    mixture = (1 - beta) * ours + beta * theirs
    from_theirs, from_ours = theirs * (theirs / mixture).log(), ours * (ours / mixture).log()
    found = {0.0: from_theirs, 1.0: from_ours}.get(beta, beta * from_theirs + (1 - beta) * from_ours)
    return found if most is None else torch.minimum(found, torch.tensor(most).double())


def stops_gradient(objective):
    """The ratio is a weight: held fixed."""
    return objective.importance_clip is not None


def test_with_a_tail_by_hand():
    """Reverse KL over three entries each; the teacher's rest in the last state is nothing, put at 1e-7."""
    pairs = [
        ((0.2, 0.4, 0.4), (0.6, 0.2, 0.2)), ((0.25, 0.5, 0.25), (0.5, 0.25, 0.25)),
        ((0.1, 0.4, 0.5), (0.75, 0.25, 1e-7)),
    ]  # fmt: skip
    expected = sum(s * math.log(s / t) for ours, theirs in pairs for s, t in zip(ours, theirs, strict=True)) / 3
    found = evaluate(SDPO(beta=1, topk=2, importance_clip=None), **TOPK)[0]
    assert found == pytest.approx(expected, rel=1e-7)  # 1e-7 is how little is put for nothing


def test_without_a_tail_both_are_renormalised():
    pairs = [((1 / 3, 2 / 3), (3 / 4, 1 / 4)), ((1 / 3, 2 / 3), (2 / 3, 1 / 3)), ((1 / 5, 4 / 5), (3 / 4, 1 / 4))]
    expected = sum(t * math.log(t / s) for ours, theirs in pairs for s, t in zip(ours, theirs, strict=True)) / 3
    found = evaluate(SDPO(beta=0, topk=2, tail=False, importance_clip=None), **TOPK)[0]
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_ratio_is_capped_and_carries_no_gradient():
    """Ratios 1.2, 1 and 0.8, at most 1.1; the logged divergence is without them."""
    plain = evaluate(SDPO(topk=2, importance_clip=None), **TOPK)[1].loss_BT
    logprobs_BT = STUDENT.logprobs_BT.clone().requires_grad_(True)
    student = StudentScores(logprobs_BT, STUDENT.entropy_BT, at_old_topk_BTK=AT_BEST)
    answer = evaluate(SDPO(topk=2, importance_clip=1.1), student=student, teacher=TOPK["teacher"])[1]
    weights = torch.tensor([[1.1, 1.0], [0.8, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(answer.loss_BT, plain * weights, rtol=1e-12, atol=0)
    assert torch.equal(answer.terms["teacher"], plain)
    assert not answer.loss_BT.requires_grad


def rows(seed, vocabulary=11):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(64, vocabulary, generator=generator, dtype=torch.float64)).log_softmax(-1)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_tail_bounds_the_complete_divergence_from_below_and_grows_to_it(beta):
    ours, theirs = rows(0), rows(1)
    complete_N = generalized_jsd(ours, theirs, beta)
    previous_N = torch.zeros(64, dtype=torch.float64)
    order = ours.argsort(-1, descending=True)
    for k in range(1, 12):
        best = order[:, :k]
        found_N = generalized_jsd(*topk_distributions(ours.gather(1, best), theirs.gather(1, best), True), beta)
        assert (found_N <= complete_N + 1e-6).all()
        assert (found_N >= previous_N - 1e-6).all()  # a finer division tells more
        previous_N = found_N
    torch.testing.assert_close(previous_N, complete_N, rtol=1e-9, atol=1e-9)
    renormalised_N = generalized_jsd(*topk_distributions(ours, theirs, False), beta)
    torch.testing.assert_close(renormalised_N, complete_N, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tail_of_rounding_alone_leaves_the_gradient_alone(dtype):
    """All of the vocabulary is in the top-k: the tail's own derivative is of the order of 1e7 times rounding."""
    logits = rows(0).to(dtype).requires_grad_(True)
    theirs = rows(1).to(dtype)
    for beta in (0.0, 0.5, 1.0):
        complete = generalized_jsd(logits.log_softmax(-1), theirs, beta).sum()
        on_all = generalized_jsd(*topk_distributions(logits.log_softmax(-1), theirs, True), beta).sum()
        found, expected = (torch.autograd.grad(x, logits)[0] for x in (on_all, complete))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_tail_in_log_space():
    small = torch.tensor([[math.log1p(-1e-5)]], dtype=torch.float64)
    assert with_tail(small)[0, 1].item() == pytest.approx(math.log(1e-5), rel=1e-10)
    assert with_tail(torch.zeros(1, 1))[0, 1].item() == pytest.approx(math.log(1e-7), rel=1e-6)


def test_entries_are_cut():
    """Teacher (0.9, 0.1), student (0.5, 0.5): 0.9 log 1.8 is cut at 0.05, 0.1 log 0.2 is below 0 and stays."""
    ours, theirs = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.5], [0.9, 0.1]))
    assert clipped_jsd(ours, theirs, 0.0, 0.05).item() == pytest.approx(0.05 + 0.1 * math.log(0.2), rel=1e-12)
    for beta in (0.0, 0.4, 1.0):
        torch.testing.assert_close(clipped_jsd(ours, theirs, beta, 9.0), generalized_jsd(ours, theirs, beta))
    never = torch.tensor([[0.0, -math.inf]], dtype=torch.float64)
    assert all(
        clipped_jsd(x, y, b, 0.05).isfinite().all() for x, y in ((never, theirs), (ours, never)) for b in (0, 0.5, 1)
    )


def test_a_cut_entry_pushes_the_student_away_from_the_token_that_the_teacher_wants():
    """A finding about OPSD's clip: what is left of the forward KL raises the other token alone."""
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    theirs = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log()
    plain, cut = (
        generalized_jsd(logits.log_softmax(-1), theirs, 0.0),
        clipped_jsd(logits.log_softmax(-1), theirs, 0.0, 0.05),
    )
    towards, away = (torch.autograd.grad(x.sum(), logits)[0][0, 0].item() for x in (plain, cut))
    assert towards == pytest.approx(0.5 - 0.9)  # descending raises the teacher's token
    assert away == pytest.approx(0.5 * 0.1)  # and here lowers it


def test_needs():
    topk = {Need.STUDENT_AT_OLD_TOPK, Need.TEACHER_AT_STUDENT_TOPK}
    assert SDPO().needs == topk | {Need.OLD_LOGPROBS}
    assert SDPO(importance_clip=None).needs == topk
    assert SDPO(topk=None, importance_clip=None).needs == {Need.TEACHER_FULL}
    assert (SDPO().student_topk, SDPO().divergence) == (100, None)
    assert SDPO(topk=None).student_topk == 0


@pytest.mark.parametrize(
    "options",
    [{"beta": 1.1}, {"topk": 0}, {"topk": 1, "tail": False}, {"tail": False, "topk": None}, {"importance_clip": 0},
     {"entry_clip": -1}, {"entry_clip": float("inf")}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SDPO(**options)
