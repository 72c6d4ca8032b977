"""Demonstrations: right ones alone, whole parts, the same folder only for the same recipe."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from tgpo.errors import RequestError
from tgpo.tasks import demonstrations
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.tasks.demonstrations import Tally, read, write
from tgpo.types.problem import Rollout

TASK = Arithmetic()
RECIPE = {"teacher": "a", "temperature": 0.7}


@pytest.fixture
def problems(monkeypatch):
    monkeypatch.setattr(demonstrations, "PROBLEMS_PER_PART", 4)
    return TASK.train_problems(0, 1, 10)


class Student:
    """Three answers to each problem: right, wrong, and right but cut off."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    def __call__(self, problems, part):
        self.parts.append(part)
        rollouts, responses = [], []
        for problem in problems:
            for finish, answer in (("eos", problem.answer), ("eos", "7777"), ("length", problem.answer)):
                ids = (part, len(problem.prompt), 1)
                rollouts.append(Rollout(problem, 0, (), ids, None, "student", finish, 0))
                responses.append(rf"\boxed{{{answer}}}")
        return rollouts, responses


def test_keeps_the_right_ones_that_end(tmp_path, problems):
    tally = write(tmp_path, problems, Student(), TASK.rewards, 2, RECIPE)
    assert tally == Tally(problems=10, answered=10, kept=10)
    found = read(tmp_path)
    assert [found.of(p) for p in problems[:4]] == [[(0, len(p.prompt), 1)] for p in problems[:4]]
    assert found.longest[1] == 3
    rows = pd.concat(pd.read_parquet(part) for part in sorted(tmp_path.glob("*.parquet")))
    assert list(rows.columns) == demonstrations.COLUMNS
    assert all(row.answer in row.response for row in rows.itertuples())


def test_a_problem_met_twice_is_asked_once(tmp_path, problems):
    assert write(tmp_path, problems + problems, Student(), TASK.rewards, 1, RECIPE).problems == 10


def test_goes_on_where_it_was_cut_short(tmp_path, problems):
    class Killed(Student):
        def __call__(self, chunk, part):
            if part == 2:
                raise KeyboardInterrupt
            return super().__call__(chunk, part)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, problems, Killed(), TASK.rewards, 1, RECIPE)
    (tmp_path / ".part-00002-00000000.parquet.partial").write_bytes(b"half")
    assert len(read(tmp_path).by_problem) == 8
    again = Student()
    write(tmp_path, problems, again, TASK.rewards, 1, RECIPE)
    assert again.parts == [2]
    assert len(read(tmp_path).by_problem) == 10


def test_a_longer_list_of_problems_keeps_the_parts_it_can(tmp_path, problems):
    write(tmp_path, problems, Student(), TASK.rewards, 1, RECIPE)
    again = Student()
    write(tmp_path, problems + TASK.train_problems(0, 2, 2), again, TASK.rewards, 1, RECIPE)
    assert again.parts == [2]
    assert sum(len(pd.read_parquet(part)) for part in tmp_path.glob("*.parquet")) == 12


def test_another_recipe_is_refused(tmp_path, problems):
    write(tmp_path, problems, Student(), TASK.rewards, 1, RECIPE)
    with pytest.raises(RequestError, match=r"made with temperature=0\.7, now it is 1\.0"):
        write(tmp_path, problems, Student(), TASK.rewards, 1, {**RECIPE, "temperature": 1.0})


def test_parts_of_problems_that_were_edited_are_made_anew(tmp_path, problems):
    write(tmp_path, problems, Student(), TASK.rewards, 1, RECIPE)
    edited, again = [*problems[:9], replace(problems[9], prompt="1+1", answer="2")], Student()
    write(tmp_path, edited, again, TASK.rewards, 1, RECIPE | {"noted_since": True})
    assert again.parts == [2]
    assert read(tmp_path).of(edited[9])
    assert not read(tmp_path).of(problems[9])


def test_a_problem_without_a_right_answer_has_none(tmp_path, problems):
    tally = write(tmp_path, problems, Student(), lambda p, r: TASK.rewards(p, ["?"] * len(r)), 1, RECIPE)
    assert tally == Tally(problems=10, answered=0, kept=0)
    assert read(tmp_path).of(problems[0]) == ()


def test_a_folder_without_any(tmp_path):
    with pytest.raises(RequestError, match=r"make them with: python -m tgpo\.demonstrations"):
        read(tmp_path)
    pd.DataFrame({"problem_id": ["a"]}).to_parquet(tmp_path / "part-00000-00000000.parquet")
    with pytest.raises(RequestError, match="no column prompt"):
        read(tmp_path)
