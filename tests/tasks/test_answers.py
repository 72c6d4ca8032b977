"""Answers out of rows, letters out of responses, and what thinking is worth."""

from __future__ import annotations

import pytest

from tgpo.tasks.answers import after_thinking, gold_answer, judge, judge_letters, letter, question
from tgpo.tasks.cells import CellError


@pytest.mark.parametrize(
    ("cell", "form", "answer"),
    [
        ("  42 ", "verbatim", "42"),
        (142.0, "verbatim", "142"),
        (0.5, "verbatim", "0.5"),
        (7, "verbatim", "7"),
        (["2", "-2"], "verbatim", "2, -2"),
        (["$3$"], "verbatim", "$3$"),
        ("2e", "verbatim", "2e"),
        ([], "verbatim", None),
        (["1", None], "verbatim", None),
        (None, "verbatim", None),
        ("3*4=<<3*4=12>>12 #### no\n#### 1,234,567", "after_hashes", "1234567"),
        ("#### -5", "after_hashes", "-5"),
        ("#### 1,2", "after_hashes", "1,2"),  # no thousands separator
        ("the answer is 5", "after_hashes", None),
        (r"\boxed{1} and \boxed{\frac{1}{2}}.", "last_boxed", r"\frac{1}{2}"),
        (r"cut off \boxed{1", "last_boxed", None),
        (None, "last_boxed", None),
    ],
)
def test_gold_answers(cell, form, answer):
    assert gold_answer(cell, form) == answer


@pytest.mark.parametrize(
    ("gold", "response", "reward"),
    [
        (gold_answer(["$2$,$-2$"], "verbatim"), r"\boxed{-2, 2}", 1),
        (gold_answer(["$2$,$-2$"], "verbatim"), r"\boxed{2}", 0),
        (gold_answer("2.4e+05", "verbatim"), r"\boxed{240000}", 1),
        (gold_answer("2.4e+05", "verbatim"), r"\boxed{2.4}", 0),
        (gold_answer("025", "verbatim"), r"\boxed{25}", 1),
        (gold_answer(142.0, "verbatim"), r"\boxed{142}", 1),
        (gold_answer("#### 1,234", "after_hashes"), r"\boxed{1234}", 1),
    ],
)
def test_what_becomes_of_an_answer_is_what_the_verifier_reads(gold, response, reward):
    assert judge([gold], [response], require_boxed=True, require_think_end=False).values == [reward]


def test_a_prompt_is_text_or_one_user_turn():
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    assert question("u") == ("u", None)
    assert question([user]) == ("u", None)
    assert question([system, user]) == ("u", "s")
    assert question(None) == (None, None)
    for other in ([], [system], [user, user], [user, {"role": "assistant", "content": "a"}, user]):
        assert question(other) == (None, None)
    for malformed in (["2+2"], [{"from": "human", "value": "u"}], [{"role": "user", "content": [{"text": "u"}]}]):
        with pytest.raises(CellError):
            question(malformed)


GATED = [
    (r"<think>a</think> \boxed{4}", 1, 1),
    (r"\boxed{4}", 1, 0),  # never stopped thinking, or never thought
    (r"<think>\boxed{4}", 1, 0),
    (r"<think>\boxed{4}</think> so it is four", 1, 0),  # right, but only in its thoughts
    (r"<think>\boxed{5}</think> \boxed{4}", 1, 1),
    (r"<think>\boxed{4}</think> \boxed{5}", 0, 0),
    (r"a </think> \boxed{5} </think> \boxed{4}", 1, 1),  # the last one counts
]


@pytest.mark.parametrize(("response", "free", "gated"), GATED)
def test_the_answer_is_read_after_the_thoughts(response, free, gated):
    assert judge(["4"], [response], require_boxed=True, require_think_end=False).values == [free]
    assert judge(["4"], [response], require_boxed=True, require_think_end=True).values == [gated]


def test_thinking_is_gated_without_boxes_too():
    assert judge(["4"], ["it is 4"], require_boxed=False, require_think_end=False).values == [1]
    assert judge(["4"], ["it is 4"], require_boxed=False, require_think_end=True).values == [0]
    assert judge(["4"], ["</think> it is 4"], require_boxed=False, require_think_end=True).values == [1]
    assert after_thinking("no end") == ""


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        ("B", "B"),
        (" B ", "B"),
        ("(B)", "B"),
        (r"\text{B}", "B"),
        (r"\mathrm{(C)}", "C"),
        ("$D$", "D"),
        ("B. four moles", "B"),
        ("B) four", "B"),
        ("J", "J"),
        ("b", None),
        ("B, C", None),
        ("AB", None),
        ("Because", None),
        ("A force", None),
        ("4", None),
        ("", None),
    ],
)
def test_letters(inside, found):
    assert letter(rf"first \boxed{{A}}, no: \boxed{{{inside}}}") == found


def test_letters_are_no_variables():
    assert judge_letters(["B", "B", "B"], [r"\boxed{B}", r"\boxed{C}", "B"], require_think_end=False).values == [
        1,
        0,
        0,
    ]
    assert judge_letters(["B", "B"], [r"\boxed{B}", r"</think>\boxed{B}"], require_think_end=True).values == [0, 1]
