"""TopKKD: whose tokens, by hand; the complete divergence as its limit; and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.laws.world import SEQUENCES, batch_of, gradient, loss_of, scores_of, table
from tests.objectives.by_hand import BATCH, STUDENT, evaluate, log
from tgpo.functional.divergence import generalized_jsd
from tgpo.objectives.topk_kd import TopKKD
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal

# the student's two best tokens and the teacher's; in the first state they share token 2, in the second none, in the
# third both
OLD_IDS = torch.tensor([[[2, 3], [4, 5]], [[4, 3], [0, 0]]])
AT_OLD = log([[0.4, 0.3], [0.2, 0.1]], [[0.4, 0.1], [1.0, 1.0]])
TEACHER_AT_OLD = log([[0.2, 0.1], [0.1, 0.05]], [[0.25, 0.75 - 1e-9], [1.0, 1.0]])
SIGNAL = TeacherSignal(
    topk_ids_BTK=BATCH.teacher.topk_ids_BTK,
    topk_logprobs_BTK=BATCH.teacher.topk_logprobs_BTK,
    student_topk_ids_BTK=OLD_IDS,
    at_student_topk_BTK=TEACHER_AT_OLD,
)
SCORED = replace(STUDENT, at_old_topk_BTK=AT_OLD)


def chosen(objective, world):
    """1 for the tokens that are looked at, `[S,T,V]`; which they are carries no gradient."""
    ours, theirs = world.ours_STV.detach(), world.theirs_STV
    of_student, of_teacher = (
        torch.zeros_like(p).scatter(-1, p.topk(min(objective.topk, 3)).indices, 1.0) for p in (ours, theirs)
    )
    either = {"union": torch.maximum(of_student, of_teacher), "intersection": of_student * of_teacher}
    return {"student": of_student, "teacher": of_teacher, **either}[objective.tokens]


def claim(objective, world):
    """The divergence in the student's states, of the distributions over the chosen tokens and the rest."""
    kept, beta = chosen(objective, world), objective.beta
    ours, theirs = kept * world.ours_STV, kept * world.theirs_STV
    if objective.tail:
        # where nothing is left over, the same nothing on both sides
        rest = [(1 - p.sum(-1, keepdim=True)).clamp(min=1e-7) for p in (ours, theirs)]
        ours, theirs = torch.cat([ours, rest[0]], -1), torch.cat([theirs, rest[1]], -1)
    else:
        ours, theirs = ours / ours.sum(-1, keepdim=True), theirs / theirs.sum(-1, keepdim=True)
    ours, theirs = ours.clamp(min=1e-300), theirs.clamp(min=1e-300)
    mixture = (1 - beta) * ours + beta * theirs
    from_theirs, from_ours = theirs * (theirs / mixture).log(), ours * (ours / mixture).log()
    loss_STK = {0.0: from_theirs, 1.0: from_ours}.get(beta, beta * from_theirs + (1 - beta) * from_ours)
    return world.on_own(loss_STK.sum(-1))


def reverse(ours, theirs):
    return sum(s * math.log(s / t) for s, t in zip(ours, theirs, strict=True))


def test_the_students_by_hand():
    pairs = [
        ((0.4, 0.3, 0.3), (0.2, 0.1, 0.7)),
        ((0.2, 0.1, 0.7), (0.1, 0.05, 0.85)),
        ((0.4, 0.1, 0.5), (0.25, 0.75, 1e-7)),
    ]
    expected = sum(reverse(*pair) for pair in pairs) / 3
    found = evaluate(TopKKD(topk=2), student=SCORED, teacher=SIGNAL)[0]
    assert found == pytest.approx(expected, rel=1e-5)  # the teacher's rest in the third state is put at 1e-7


def test_the_union_counts_a_shared_token_once():
    """First state: the teacher's 1 and 2 (student 0.2 and 0.4), the student's 2 and 3: together 1, 2, 3."""
    pairs = [
        ((0.2, 0.4, 0.3, 0.1), (0.6, 0.2, 0.1, 0.1)),
        ((0.25, 0.5, 0.2, 0.1), (0.5, 0.25, 0.1, 0.05)),
        ((0.1, 0.4, 0.5), (0.75, 0.25, 1e-7)),
    ]
    # in the second state the student's numbers sum to more than 1, as no real ones do: renormalised there is no rest
    renormalised = [
        [[x / sum(side[:n]) for x in side[:n]] for side in pair] for pair, n in zip(pairs, (3, 4, 2), strict=True)
    ]
    expected = sum(reverse(*pair) for pair in renormalised) / 3
    found = evaluate(TopKKD(tokens="union", topk=2, tail=False), student=SCORED, teacher=SIGNAL)[0]
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_intersection_is_what_both_name():
    """One token in the first state, none in the second, both in the third."""
    found = evaluate(TopKKD(tokens="intersection", topk=2), student=SCORED, teacher=SIGNAL)[1].loss_BT
    first = reverse((0.4, 0.6), (0.2, 0.8))
    third = reverse((0.4, 0.1, 0.5), (0.25, 0.75, 1e-7))
    assert found[0].tolist() == pytest.approx([first, 0.0], rel=1e-9)
    assert found[1, 0].item() == pytest.approx(third, rel=1e-5)
    alone = evaluate(TopKKD(tokens="intersection", topk=2, tail=False), student=SCORED, teacher=SIGNAL)[1].loss_BT
    assert alone[0].tolist() == [0.0, 0.0]  # of one token, and of none, there is nothing to tell apart


@pytest.mark.parametrize("tokens", ["student", "teacher", "union", "intersection"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_over_the_whole_vocabulary_all_are_the_complete_divergence(tokens, beta):
    """Value and gradient, a step away from pi_old."""
    policy, group_B = table(0).requires_grad_(True), torch.zeros(27, dtype=torch.long)
    objective = TopKKD(tokens=tokens, topk=3, tail=False, beta=beta)
    batch = batch_of(SEQUENCES, policy.detach() + 0.3 * table(5), table(1), group_B, objective)
    whole = TopKKD(tokens="teacher", topk=3, tail=False, beta=beta)
    scored = batch_of(SEQUENCES, policy.detach(), table(1), group_B, whole)
    ours_BTV, theirs_BTV = scores_of(policy, scored, whole).at_teacher_topk_BTK, scored.teacher.topk_logprobs_BTK
    complete = generalized_jsd(ours_BTV, theirs_BTV, beta).mean()
    found = loss_of(objective, policy, batch)
    torch.testing.assert_close(found, complete, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(found, policy), gradient(complete, policy), rtol=1e-9, atol=1e-12)


def test_needs():
    of_student = {Need.STUDENT_AT_OLD_TOPK, Need.TEACHER_AT_STUDENT_TOPK}
    assert TopKKD().needs == of_student
    assert TopKKD(tokens="teacher").needs == {Need.TEACHER_TOPK}
    assert TopKKD(tokens="union").needs == TopKKD(tokens="intersection").needs == of_student | {Need.TEACHER_TOPK}


@pytest.mark.parametrize("options", [{"topk": 0}, {"topk": 1, "tail": False}, {"beta": 2}, {"tokens": "mine"}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TopKKD(**options)
