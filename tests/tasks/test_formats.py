"""Rows in the shapes of public datasets, with text of our own: each is read with at most two options beside the path.

Without these options, the message names them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pandas as pd
import pytest

from tests.compose import composed
from tests.hub import FIXTURES
from tests.tasks.local import jsonl
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.tasks.dataset import DatasetTask
from tgpo.types.problem import Problem

pytestmark = pytest.mark.usefixtures("hub")

ASKED = "The last line of the response is to be of the form Answer: $Answer. What is 6 + 7?"
WORKED = "Six and seven make $\\boxed{12}$ and one more, so $\\boxed{13}$ in all."


class Shape(NamedTuple):
    """A row, the options that read it, its prompt, and a response that is right."""

    row: dict[str, Any]
    options: tuple[str, ...]
    prompt: str = "What is 6 + 7?"
    response: str = r"\boxed{13}"


def asked(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


SHAPES = {
    "verl, a list": Shape(
        {
            "data_source": "ours",
            "prompt": asked("What is 6 + 7?"),
            "reward_model": {"ground_truth": ["13"], "style": "rule"},
            "extra_info": {"index": 0, "question": "What is 6 + 7?"},
        },
        ("answer_column=reward_model.ground_truth",),
    ),
    "verl, fields": Shape(
        {"prompt": asked("What is 6 + 7?"), "reward_model": {"style": "rule", "ground_truth": {"target": ["13"]}}},
        ("answer_column=reward_model.ground_truth.target",),
    ),
    "DAPO": Shape(
        {
            "data_source": "ours",
            "prompt": asked(ASKED),
            "ability": "MATH",
            "reward_model": {"ground_truth": "13", "style": "rule-ours"},
            "extra_info": {"index": "9a9b6eb4"},
        },
        ("answer_column=reward_model.ground_truth", "require_boxed=false"),
        ASKED,
        "It is.\nAnswer: 13",
    ),
    "NuminaMath": Shape(
        {
            "source": "ours",
            "problem": "What is 6 + 7?",
            "solution": WORKED,
            "messages": [*asked("What is 6 + 7?"), {"role": "assistant", "content": WORKED}],
        },
        ("prompt_column=problem", "answer_column=solution"),
    ),
    "GSM8K": Shape({"question": "What is 6 + 7?", "answer": "6+7=<<6+7=13>>13.\n#### 13"}, ("prompt_column=question",)),
    "OpenR1": Shape(
        {
            "problem": "What is 6 + 7?",
            "solution": WORKED,
            "answer": "13",
            "problem_type": "Algebra",
            "generations": ["<think>...</think> 13"],
            "correctness_math_verify": [True],
            "messages": [*asked("What is 6 + 7?"), {"role": "assistant", "content": WORKED}],
        },
        ("prompt_column=problem",),
    ),
    "MATH": Shape(
        {"problem": "What is 6 + 7?", "level": "Level 1", "type": "Algebra", "solution": WORKED},
        ("prompt_column=problem", "answer_column=solution"),
    ),
    "MATH, with answers": Shape(
        {"problem": "What is 6 + 7?", "solution": WORKED, "answer": "13", "level": 1}, ("prompt_column=problem",)
    ),
    "OlympiadBench": Shape(
        {"id": 1, "question": "What is 6 + 7?", "solution": [WORKED], "final_answer": ["$13$"], "unit": None},
        ("prompt_column=question", "answer_column=final_answer"),
    ),
    "Minerva": Shape({"question": "What is 6 + 7?", "answer": "13"}, ("prompt_column=question",)),
    "Minerva, worked": Shape(
        {"type": "Sums", "problem": "What is 6 + 7?", "solution": WORKED, "idx": 0},
        ("prompt_column=problem", "answer_column=solution"),
    ),
    "reasoning-gym": Shape(
        {
            "question": "What is 6 + 7?",
            "answer": "13",
            "metadata": {"source_dataset": "chain_sum", "source_index": 0, "difficulty": {"num_terms": [2, 2]}},
        },
        ("prompt_column=question",),
    ),
}
FORMS = ["jsonl", "parquet", "csv"]


def written(path, rows):
    if path.suffix == ".jsonl":
        return jsonl(path, rows)
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def read(path, *options: str) -> tuple[DatasetTask, list[Problem]]:
    overrides = [f"task.{option}" for option in options]
    task = check(composed("task=local", f"task.path={path}", *overrides, "task.eval_size=1", "output_dir=unused")).task
    return task, task.problems(task.path, task.subset, task.split, task.revision)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_with_two_options_at_most(name, form, tmp_path):
    shape = SHAPES[name]
    assert len(shape.options) <= 2
    task, problems = read(written(tmp_path / f"rows.{form}", [shape.row] * 3), *shape.options)
    assert [p.prompt for p in problems] == [shape.prompt] * 3
    assert task.rewards(problems[:1], [shape.response]).values == [1]
    assert task.rewards(problems[:1], [shape.response.replace("13", "12")]).values == [0]


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "_column" in " ".join(shape.options)])
def test_a_shape_without_its_options_is_refused_with_them(name, tmp_path):
    shape = SHAPES[name]
    path = written(tmp_path / "rows.jsonl", [shape.row] * 3)
    with pytest.raises(RequestError) as caught:
        read(path)
    columns = [option for option in shape.options if "_column" in option]
    if len(columns) == 1 and "did you mean" in str(caught.value):
        assert f"did you mean '{columns[0].partition('=')[2]}'?" in str(caught.value)
    else:
        assert re.findall(r"task\.(\S+)", str(caught.value).partition("; set ")[2]) == columns


def test_a_prompt_that_asks_for_answer_and_no_box_is_pointed_out(tmp_path, caplog):
    shape = SHAPES["DAPO"]
    path = written(tmp_path / "rows.jsonl", [shape.row] * 3)
    read(path, shape.options[0])
    assert "set task.require_boxed=false" in caplog.text
    caplog.clear()
    read(path, *shape.options)
    read(path, shape.options[0], r"prompt_template='{problem} Use \\boxed.'")
    assert "require_boxed" not in caplog.text


@pytest.mark.parametrize(
    ("answers", "form"),
    [
        (["so #### 1", "#### 2", "3"], ["1", "2"]),
        ([r"so \boxed{1}", r"it is $\boxed{2}$", "3"], ["1", "2"]),
        (["1", r"so \boxed{2}", "3 #### 4"], ["1", r"so \boxed{2}", "3 #### 4"]),
        ([r"\boxed{1}", r"$\boxed{2}$."], [r"\boxed{1}", r"$\boxed{2}$."]),
    ],
)
def test_the_form_of_the_answers_is_that_of_most(answers, form, tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": answer} for answer in answers])
    assert [p.answer for p in read(path)[1]] == form
    assert [p.answer for p in read(path, "answer_form=verbatim")[1]] == answers


def test_the_fixtures_of_benchmarks_are_read_as_a_task(caplog):
    _, problems = read(FIXTURES / "olympiad", "prompt_column=question", "answer_column=final_answer", "split=test")
    assert len(problems) == 10
    _, problems = read(FIXTURES / "gsm8k" / "main", "prompt_column=question")
    assert problems[0].answer == "1500"
    assert "as with task.answer_form=after_hashes" in caplog.text
