"""Countdown's rows, and its verifier, which evaluates the expression."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose import composed
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.tasks.countdown import Countdown, evaluated, gold, reaches


@pytest.mark.parametrize(
    ("boxed", "right"),
    [
        ("44 + 19 + 35", True),
        ("(44+19)+35 = 98", True),
        (r"44 + 35 \times 1 + 19", False),  # a number that was not given
        ("98", False),
        ("44+44+10", False),
        ("44+19+35+0", False),
        ("44+19", False),
        ("44+19+35.0", False),
        ("44+19+True+34", False),
        ("__import__('os').system('x')", False),
        ("44**19**35", False),
        ("(" * 100 + "44+19+35" + ")" * 100, False),  # too long
        ("44+19+", False),
        ("-(-44 - 19) + 35", True),
        ("44/0+19", False),
        (r"\left(44 + 19\right) + 35", True),
    ],
)
def test_an_expression_is_right_if_it_reaches_the_target_with_each_number_once(boxed, right):
    assert reaches(gold(98, [44, 19, 35]), rf"so \boxed{{{boxed}}}") is right


def test_fractions_are_exact_and_tex_is_read():
    assert reaches(gold(6, [3, 2, 4]), r"\boxed{\frac{3}{2} \cdot 4}")
    assert reaches(gold(24, [8, 3, 8, 3]), r"\boxed{8 ÷ (3 − 8 ÷ 3)}")  # through 8/3, which no float holds
    assert not reaches(gold(6, [3, 2, 4]), "3*2 without a box")


@given(st.text("0123456789+-*/() .eE_jx", max_size=40))
@settings(deadline=None)
def test_nothing_but_arithmetic_of_the_given_numbers_is_right(text):
    """Whatever is right has the value and the numbers, by Python's own evaluation."""
    if reaches(gold(7, [3, 4]), rf"\boxed{{{text}}}"):
        assert eval(text.replace(" ", "")) == 7
        assert sorted(evaluated(text.replace(" ", ""))[1]) == [3, 4]


def options(path, *more: str) -> Countdown:
    return check(composed("output_dir=unused", "task=countdown", f"task.path={path}", "task.eval_size=1", *more)).task


@pytest.mark.parametrize(
    "rows",
    [
        [{"target": 98, "nums": [44, 19, 35]}, {"target": 7, "nums": [3, 4]}],
        [{"target": "98", "nums": "[44, 19, 35]"}, {"target": "7", "nums": "[3 4]"}],
    ],
)
def test_rows_become_problems(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = options(path)
    problems = {p.answer: p for p in (*task.train_problems(0, 1, 1), *task.eval_problems())}
    assert set(problems) == {"98 from 44, 19, 35", "7 from 3, 4"}
    assert "the numbers 3, 4, write an expression that equals 7." in problems["7 from 3, 4"].prompt
    seven = problems["7 from 3, 4"]
    assert task.rewards([seven, seven], [r"\boxed{3+4}", r"\boxed{7}"]).values == [1.0, 0.0]


def test_rows_in_verls_shape_have_their_own_prompts(tmp_path):
    path = tmp_path / "rows.jsonl"
    truth = {"target": 98, "numbers": [44, 19, 35]}
    rows = [{"prompt": [{"role": "user", "content": f"Reach 98, {i}."}], "reward_model": {"ground_truth": truth}}
            for i in range(3)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = options(
        path, "task.prompt_column=prompt", "'task.prompt_template=\"{problem}\"'".strip("'"),
        "task.answer_column=reward_model.ground_truth.target", "task.numbers_column=reward_model.ground_truth.numbers",
    )  # fmt: skip
    assert {p.prompt for p in task.train_problems(0, 1, 2)} < {"Reach 98, 0.", "Reach 98, 1.", "Reach 98, 2."}
    assert {p.answer for p in task.train_problems(0, 1, 2)} == {"98 from 44, 19, 35"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"target": "many", "nums": [1, 2]}, "not an integer"),
        ({"target": 3, "nums": {"a": 1}}, "no list of numbers"),
        ({"target": 3, "numbers": [1, 2]}, "no such column"),
    ],
)
def test_rows_of_another_shape_are_refused(row, words, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(RequestError, match=words):
        options(path).eval_problems()
