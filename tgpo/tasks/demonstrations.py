"""Demonstrations: the teacher's verified responses to a task's problems, kept as parquet, one row each.

A folder of them is `part-*.parquet` and `recipe.json`, which says how they were made. Each part appears whole, so a
killed command goes on with the first part that is missing.
"""

from __future__ import annotations

import json
import operator
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tgpo.errors import RequestError, program, writing
from tgpo.runs.files import make_folder, read_json, write_whole
from tgpo.tasks.base import Rewards
from tgpo.types.problem import Problem, Rollout

PROBLEMS_PER_PART = 256  # what a kill can lose
COLUMNS = ["problem_id", "prompt", "answer", "response", "response_ids"]

Key = tuple[str, str]  # a problem's id and its prompt: a task with other options may use an id again
Respond = Callable[[Sequence[Problem], int], tuple[Sequence[Rollout], Sequence[str]]]  # problems, number of the part
Judge = Callable[[Sequence[Problem], Sequence[str]], Rewards]


def how() -> str:
    """The command that makes them."""
    return f"{program('demonstrations')} demonstrations.path=FOLDER"


class Demonstrations:
    """Token ids of responses, by problem, in the order they were written; each ends with EOS."""

    def __init__(self, by_problem: Mapping[Key, Sequence[tuple[int, ...]]]) -> None:
        self.by_problem = by_problem

    def of(self, problem: Problem) -> Sequence[tuple[int, ...]]:
        return self.by_problem.get((problem.id, problem.prompt), ())

    @property
    def largest_id(self) -> int:
        return max((max(ids) for found in self.by_problem.values() for ids in found), default=0)

    @property
    def last_ids(self) -> set[int]:
        return {ids[-1] for found in self.by_problem.values() for ids in found}

    @property
    def longest(self) -> tuple[str, int]:
        """The problem with the longest response, and its tokens."""
        lengths = ((name, max(map(len, found))) for (name, _), found in self.by_problem.items() if found)
        return max(lengths, key=lambda pair: pair[1], default=("", 0))


class Tally(NamedTuple):
    """Problems asked about, problems with a right response, responses kept."""

    asked: int
    answered: int
    kept: int


def read(folder: Path) -> Demonstrations:
    """Every part of the folder; raises RequestError when there is none or a column is missing."""
    by_problem: defaultdict[Key, list[tuple[int, ...]]] = defaultdict(list)
    for part in parts_of(folder):
        try:
            rows = pd.read_parquet(part)
        except (OSError, ValueError, TypeError, NotImplementedError) as error:
            reason = type(error).__name__
            raise RequestError(f"{part}: not a parquet file ({reason}); make demonstrations with: {how()}") from error
        if missing := [name for name in COLUMNS if name not in rows.columns]:
            raise RequestError(f"{part}: no column {missing[0]}; make demonstrations with: {how()}")
        for name, prompt, ids in zip(rows["problem_id"], rows["prompt"], rows["response_ids"], strict=True):
            by_problem[name, prompt].append(checked(part, name, ids))
    return Demonstrations(by_problem)


def checked(part: Path, name: str, ids: Any) -> tuple[int, ...]:
    """A response's token ids; files come from anywhere."""
    try:
        found = tuple(operator.index(i) for i in ids)
    except TypeError:
        found = ()
    if not found or min(found) < 0:
        raise RequestError(f"{part}: the response of {name} has no token ids; make demonstrations with: {how()}")
    return found


def parts_of(folder: Path) -> list[Path]:
    found = sorted(folder.glob("part-*.parquet"))
    if not found:
        raise RequestError(f"demonstrations.path={folder}: no demonstrations there; make them with: {how()}")
    return found


def write(
    folder: Path,
    problems: Sequence[Problem],
    respond: Respond,
    judge: Judge,
    keep: int,
    recipe: dict[str, Any],
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Asks for responses part by part and keeps the first `keep` of each problem that end and are right.

    Parts that are there already are left alone, so the same call finishes what a kill cut short. `recipe` is what the
    responses depend on besides the problems; a folder made by another one is refused.
    """
    agree_on(folder, recipe)
    distinct = list({problem.id: problem for problem in problems}.values())
    chunks = [distinct[i : i + PROBLEMS_PER_PART] for i in range(0, len(distinct), PROBLEMS_PER_PART)]
    answered, kept = 0, 0
    for number, chunk in enumerate(chunks):
        path = folder / part_name(number, chunk)
        if not path.exists():
            rows = right_ones(chunk, *respond(chunk, number), judge, keep)
            for stale in folder.glob(f"part-{number:05d}-*"):  # of a shorter list of problems
                stale.unlink()
            write_part(path, rows)
        found = pd.read_parquet(path, columns=["problem_id"])["problem_id"]
        answered, kept = answered + found.nunique(), kept + len(found)
        tell(f"demonstrations  {number + 1}/{len(chunks)} parts, {kept} kept")
    return Tally(len(distinct), answered, kept)


def agree_on(folder: Path, recipe: dict[str, Any]) -> None:
    """Notes how the folder's demonstrations are made, or refuses one where they were made otherwise."""
    path = make_folder(folder, "demonstrations.path") / "recipe.json"
    if not path.exists():
        write_whole(path, json.dumps(recipe, indent=1) + "\n")
    there = read_json(path)
    if changed := [key for key in recipe if key in there and there[key] != recipe[key]]:  # one of before may lack some
        key = changed[0]
        raise RequestError(
            f"{folder}: its demonstrations were made with {key}={there.get(key)}, now it is {recipe[key]}; "
            "give demonstrations.path another folder"
        )


def part_name(number: int, chunk: Sequence[Problem]) -> str:
    """The name knows its problems: a part of other problems is not taken for it."""
    return f"part-{number:05d}-{zlib.crc32(json.dumps([(p.id, p.prompt) for p in chunk]).encode()):08x}.parquet"


def right_ones(
    chunk: Sequence[Problem], rollouts: Sequence[Rollout], responses: Sequence[str], judge: Judge, keep: int
) -> list[dict[str, Any]]:
    rewards = judge([r.problem for r in rollouts], responses).values
    kept: dict[str, list[dict[str, Any]]] = {problem.id: [] for problem in chunk}
    for rollout, response, reward in zip(rollouts, responses, rewards, strict=True):
        rows, problem = kept[rollout.problem.id], rollout.problem
        if reward == 1 and rollout.finish_reason == "eos" and len(rows) < keep:
            values = (problem.id, problem.prompt, problem.answer, response, list(rollout.response_ids))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return [row for rows in kept.values() for row in rows]


def write_part(path: Path, rows: list[dict[str, Any]]) -> None:
    aside = path.with_name(f".{path.name}.partial")
    with writing(path):
        pd.DataFrame(rows, columns=COLUMNS).to_parquet(aside, index=False)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)
