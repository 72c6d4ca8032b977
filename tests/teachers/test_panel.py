"""Each response is scored by its own teacher, or by none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tgpo.contexts.prompts import TeacherPrompts
from tgpo.contexts.solution import Solution
from tgpo.errors import RequestError
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.hf import load as load_hf
from tgpo.teachers.panel import NOBODY, Member, Panel
from tgpo.types.problem import Answered
from tgpo.types.teacher import TeacherQuery

QUERY = TeacherQuery(sampled=True, topk=3, full=True)


@pytest.fixture(scope="module")
def small_teacher(tokenizer):
    return load_hf("tgpo/tiny/weights/teacher-small", "float32", torch.device("cpu"), len(tokenizer), 2**24, 4096)


@pytest.fixture(scope="module")
def asked(student_model, tokenizer):
    problems = Arithmetic(eval_two_terms=3, eval_more_terms=3).eval_problems()
    problems = [replace(p, extra={**p.extra, "kind": "ab"[i % 2]}) for i, p in enumerate(problems)]
    rollouts = HFRollout(student_model, tokenizer, [1]).generate(problems, Sampling(2, 1.0, 30, 0))
    return [Answered(r.problem, "", 0.0, r.group) for r in rollouts], pad(rollouts, 0)


def whole(teacher, tokens):
    return teacher.score(tokens, QUERY)


def test_one_teacher_of_all_is_asked_as_it_is(asked, teacher_model, tokenizer):
    teacher = HFTeacher(teacher_model, len(tokenizer), 2**24, 4096)
    answered, tokens = asked
    panel = Panel([Member("only", teacher)], len(tokenizer), 0)
    assert torch.equal(
        panel.score(panel.ask(answered, tokens), QUERY).sampled_logprobs_BT, whole(teacher, tokens).sampled_logprobs_BT
    )


def test_two_of_different_widths_score_their_own(asked, teacher_model, small_teacher, tokenizer):
    """Their hidden states have different widths and heads; what comes out of the heads is each teacher's own."""
    answered, tokens = asked
    first = HFTeacher(teacher_model, len(tokenizer), 2**24, 4096)
    assert first.states_width != small_teacher.states_width
    panel = Panel([Member("a", first), Member("b", small_teacher)], len(tokenizer), 0, route="kind")
    assigned = panel.ask(answered, tokens)
    assert assigned.member_B.tolist() == ["ab".index(each.problem.extra["kind"]) for each in answered]
    signal, alone = panel.score(assigned, QUERY), [whole(t, tokens) for t in (first, small_teacher)]
    for row, number in enumerate(assigned.member_B.tolist()):
        length = int(tokens.mask_BT[row].sum())
        for name in ("sampled_logprobs_BT", "topk_ids_BTK", "topk_logprobs_BTK"):
            found, expected = (getattr(s, name)[row, :length] for s in (signal, alone[number]))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # float32, batches of other shapes
        logits = signal.head(signal.hidden_BTH[row, :length])
        own = alone[number].head(alone[number].hidden_BTH[row, :length])[:, : len(tokenizer)]
        torch.testing.assert_close(logits, own, rtol=1e-3, atol=1e-3)


def test_a_response_without_a_text_is_scored_by_nobody(asked, teacher_model, tokenizer):
    answered, tokens = asked
    teacher = HFTeacher(teacher_model, len(tokenizer), 2**24, 4096)
    without = answered[0].problem.id
    answered = [
        replace(each, problem=replace(each.problem, extra={})) if each.problem.id == without else each
        for each in answered
    ]
    prompts = TeacherPrompts(Solution(template="{problem} [{context}]"), tokenizer)
    panel = Panel([Member("only", teacher, prompts)], len(tokenizer), 0)
    assigned = panel.ask(answered, tokens)
    assert [row for row, number in enumerate(assigned.member_B.tolist()) if number == NOBODY] == [0, 1]
    signal = panel.score(assigned, QUERY)
    assert not signal.sampled_logprobs_BT[:2].any()
    expected = whole(teacher, assigned.tokens).sampled_logprobs_BT[2:]
    torch.testing.assert_close(signal.sampled_logprobs_BT[2:], expected, rtol=1e-4, atol=1e-4)


def test_a_prompt_too_long_for_the_teacher_is_counted(asked, teacher_model, tokenizer):
    answered, tokens = asked
    prompts = TeacherPrompts(Solution(template="{problem} [{context}]"), tokenizer)
    lengths = [len(ids) + int(n) for ids, n in zip(prompts.encode(answered), tokens.mask_BT.sum(1), strict=True)]
    room = sorted(lengths)[6]
    teacher = HFTeacher(teacher_model, len(tokenizer), 2**24, 4096)
    panel = Panel([Member("only", teacher, replace(prompts, room=room))], len(tokenizer), 0)
    assigned = panel.ask(answered, tokens)
    assert assigned.too_long == sum(length > room for length in lengths) > 0
    assert assigned.taught_B.tolist() == [length <= room for length in lengths]


def test_nobody_at_all_still_gives_a_signal_of_its_shape(asked, teacher_model, tokenizer):
    answered, tokens = asked
    bare = [replace(each, problem=replace(each.problem, extra={})) for each in answered]
    prompts = TeacherPrompts(Solution(template="{problem} [{context}]"), tokenizer)
    panel = Panel([Member("only", HFTeacher(teacher_model, len(tokenizer), 2**24, 4096), prompts)], len(tokenizer), 0)
    signal = panel.score(panel.ask(bare, tokens), QUERY)
    assert signal.sampled_logprobs_BT.shape == tokens.mask_BT.shape
    assert not signal.sampled_logprobs_BT.any()
    assert signal.topk_ids_BTK.shape == (*tokens.mask_BT.shape, 3)
    assert signal.head is not None


def test_a_route_to_no_teacher_is_an_error(asked, small_teacher, tokenizer):
    answered, tokens = asked
    panel = Panel([Member("a", small_teacher), Member("c", small_teacher)], len(tokenizer), 0, route="kind")
    with pytest.raises(RequestError, match="has 'b' there, which is no teacher's name; the teachers are a, c"):
        panel.ask(answered, tokens)
