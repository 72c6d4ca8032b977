"""The teacher's prompts: its template, its system turn, the text in its place; the response keeps its ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.compose import composed
from tests.contexts.batch import BATCH, A
from tests.parts import small
from tgpo.config.check import check
from tgpo.config.sizes import scored_budget, sequence_budgets
from tgpo.contexts.none import NoContext
from tgpo.contexts.other_problem import OtherProblem
from tgpo.contexts.prompts import TeacherPrompts, filled, load_prompts
from tgpo.contexts.sibling import Sibling
from tgpo.contexts.solution import Solution
from tgpo.rollout.base import encode_prompts
from tgpo.types.problem import Answered, Problem
from tgpo.types.teacher import TeacherQuery

SOLUTION = Solution(template="{problem} [{context}]")


def test_places_are_filled_in_the_template_alone():
    texts = {"{problem}": "what is {context}?", "{context}": "not {problem}"}
    assert filled("{problem} [{context}] {problem}", texts) == "what is {context}? [not {problem}] what is {context}?"


def test_a_prompt_is_that_of_a_problem_with_the_text(tokenizer):
    encoded = TeacherPrompts(SOLUTION, tokenizer).encode(BATCH)
    (expected,) = encode_prompts(tokenizer, [replace(A, prompt="what is a? [way to a]")])
    assert encoded[:3] == [expected, expected, None]


@pytest.mark.parametrize(("given", "expected"), [(None, "be brief"), ("", None), ("be kind", "be kind")])
def test_the_system_turn_can_be_kept_removed_or_replaced(tokenizer, given, expected):
    asked = Answered(replace(A, system="be brief"), "", 0.0, 0)
    (turn,) = TeacherPrompts(NoContext(), tokenizer, system=given).turns([asked])
    assert turn.system == expected


def test_variables_reach_the_template(tokenizer, tmp_path):
    template = tmp_path / "think.jinja"
    template.write_text("{{ messages[-1].content }}{% if think %}!{% else %}?{% endif %}")
    ends = []
    for think in ("true", "false"):
        options = [f"teacher.chat_template={template}", f"+teacher.template_arguments.think={think}"]
        request = check(composed("output_dir=unused", *options))
        prompts = load_prompts(request.options.student, request.options.teacher, NoContext(), tokenizer, None)
        ends.append(tokenizer.decode(prompts.encode(BATCH)[0])[-1])
    assert ends == ["!", "?"]
    assert "?" not in tokenizer.decode(encode_prompts(tokenizer, [A])[0])[-1]  # the student's template is its own


def test_what_may_be_read_is_known_before_there_are_responses(tokenizer):
    problems = [each.problem for each in BATCH]
    assert len(TeacherPrompts(SOLUTION, tokenizer).possible(problems, 3)) == 4  # b has none
    other = OtherProblem(template=SOLUTION.template)  # of a batch of one problem there is no other
    assert not TeacherPrompts(other, tokenizer).possible(problems[:1] * 3, 1)
    quoting = TeacherPrompts(Sibling(template="{problem} [{context}]"), tokenizer).possible(problems, 3)
    assert {turn.prompt for turn in quoting} == {f"what is {name}? []" for name in "abc"}


def test_the_engine_puts_them_before_the_very_same_response():
    plain, shown = (small(*o).trainer for o in ([], ["teacher.context=solution", "teacher.weights=initial"]))
    one, other = (t.collector.collect(1, t.objective, 0) for t in (plain, shown))
    assert torch.equal(one.batch.tokens.prompt_BP, other.batch.tokens.prompt_BP)  # the student's prompt is its own
    sequences = zip(other.rollouts, other.asked.tokens.sequences(), strict=True)
    for rollout, (prompt, response) in sequences:
        assert response == rollout.response_ids
        text = f"{rollout.problem.prompt} [{rollout.problem.extra['solution']}]"
        assert prompt == encode_prompts(shown.collector.tokenizer, [Problem("", text, "", "")])[0]
    # with the prompts put back, the same teacher gives other numbers: it is the prompt that it reads
    scored = shown.collector.panel.members[0].teacher.score(other.batch.tokens, TeacherQuery())
    assert not torch.allclose(scored.sampled_logprobs_BT, other.observed.sampled_logprobs_BT)


def test_the_longest_that_the_teacher_reads_counts_its_text():
    plain, solution, sibling = (
        small(*o) for o in ([], ["teacher.context=solution"], ["teacher.context=sibling"])
    )  # fmt: skip
    tokenizer = plain.tokenizer
    requests = [parts.request for parts in (plain, solution, sibling)]
    read = [scored_budget(request, request.teachers[0], tokenizer).longest for request in requests]
    own = sequence_budgets(plain.request, tokenizer)[0]
    assert read[0] == own.longest
    assert read[1] > read[0]
    assert read[2] == own.longest + own.cap + len(
        " []"
    )  # a character is a token, and a quoted response is any response
