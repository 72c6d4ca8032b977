"""A task=local of rows in a file, for the tests of what is read from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tgpo.errors import RequestError
from tgpo.tasks.dataset import DatasetTask
from tgpo.types.problem import Problem


def local(path, **options) -> DatasetTask:
    given = {"name": "local", "prompt_column": "prompt", "answer_column": "answer", "eval_size": 1, **options}
    return DatasetTask(path=str(path), **given)


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def read(path, **options) -> list[Problem]:
    """All problems, in the order of their rows."""
    task = local(path, **options)
    return task.problems(task.path, task.subset, task.split, task.revision)


def golds(path, **options) -> list[str]:
    return [problem.answer for problem in read(path, **options)]


def refused(path, **options) -> str:
    with pytest.raises(RequestError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
