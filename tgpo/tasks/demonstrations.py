"""Demonstrations: the teacher's verified responses to a task's problems, stored as parquet, one row each.

A folder of demonstrations holds `part-*.parquet` and `recipe.json`, which records how they were made. Each part is
written atomically, so a command that was killed continues with the first part that is missing.
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

PROBLEMS_PER_PART = 256  # a kill loses at most the work on one part
COLUMNS = ["problem_id", "prompt", "answer", "response", "response_ids"]

Key = tuple[str, str]  # a problem's id and prompt; the same task with other options may reuse an id
Respond = Callable[[Sequence[Problem], int], tuple[Sequence[Rollout], Sequence[str]]]  # problems, number of the part
Judge = Callable[[Sequence[Problem], Sequence[str]], Rewards]


def how() -> str:
    """Returns the command that makes demonstrations, for error messages."""
    return f"{program('demonstrations')} demonstrations.path=FOLDER"


class Demonstrations:
    """Token ids of responses by problem, in the order in which they were written. Each response ends with EOS."""

    def __init__(self, by_problem: Mapping[Key, Sequence[tuple[int, ...]]]) -> None:
        self.by_problem = by_problem

    def of(self, problem: Problem) -> Sequence[tuple[int, ...]]:
        return self.by_problem.get((problem.id, problem.prompt), ())

    @property
    def largest_id(self) -> int:
        return max((max(ids) for responses in self.by_problem.values() for ids in responses), default=0)

    @property
    def last_ids(self) -> set[int]:
        return {ids[-1] for responses in self.by_problem.values() for ids in responses}

    @property
    def longest(self) -> tuple[str, int]:
        """The id of the problem with the longest response, and the number of tokens of that response."""
        lengths = ((name, max(map(len, ids))) for (name, _), ids in self.by_problem.items() if ids)
        return max(lengths, key=lambda pair: pair[1], default=("", 0))


class Tally(NamedTuple):
    """Counts: distinct problems, problems with at least one right response, and responses kept."""

    problems: int
    answered: int
    kept: int


def read(folder: Path) -> Demonstrations:
    """Reads every part of the folder. Raises RequestError when there is none, or for a part that cannot be used."""
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
    """Returns a response's token ids. They are checked because the files may come from anywhere."""
    try:
        token_ids = tuple(operator.index(i) for i in ids)
    except TypeError:
        token_ids = ()
    if not token_ids or min(token_ids) < 0:
        raise RequestError(f"{part}: the response of {name} has no token ids; make demonstrations with: {how()}")
    return token_ids


def parts_of(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise RequestError(f"demonstrations.path={folder}: no demonstrations there; make them with: {how()}")
    return parts


def write(
    folder: Path,
    problems: Sequence[Problem],
    respond: Respond,
    judge: Judge,
    keep: int,
    recipe: dict[str, Any],
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Writes demonstrations part by part: of each problem the first `keep` responses that are right and end with EOS.

    Parts that exist already are not made again, so after a kill the same call finishes the work. `recipe` is what the
    responses depend on besides the problems; raises RequestError for a folder made with another recipe.
    """
    agree_on(folder, recipe)
    distinct = list({problem.id: problem for problem in problems}.values())
    chunks = [distinct[i : i + PROBLEMS_PER_PART] for i in range(0, len(distinct), PROBLEMS_PER_PART)]
    answered, kept = 0, 0
    for number, chunk in enumerate(chunks):
        path = folder / part_name(number, chunk)
        if not path.exists():
            rows = right_ones(chunk, *respond(chunk, number), judge, keep)
            for stale in folder.glob(f"part-{number:05d}-*"):  # left by a call whose list of problems was shorter
                stale.unlink()
            write_part(path, rows)
        problem_ids = pd.read_parquet(path, columns=["problem_id"])["problem_id"]
        answered, kept = answered + problem_ids.nunique(), kept + len(problem_ids)
        tell(f"demonstrations  {number + 1}/{len(chunks)} parts, {kept} kept")
    return Tally(len(distinct), answered, kept)


def agree_on(folder: Path, recipe: dict[str, Any]) -> None:
    """Writes the recipe into a new folder; raises RequestError if the folder has another recipe."""
    path = make_folder(folder, "demonstrations.path") / "recipe.json"
    if not path.exists():
        write_whole(path, json.dumps(recipe, indent=1) + "\n")
    stored = read_json(path)
    # a recipe of an earlier version may lack some keys
    if changed := [key for key in recipe if key in stored and stored[key] != recipe[key]]:
        key = changed[0]
        raise RequestError(
            f"{folder}: its demonstrations were made with {key}={stored.get(key)}, now it is {recipe[key]}; "
            "give demonstrations.path another folder"
        )


def part_name(number: int, chunk: Sequence[Problem]) -> str:
    """Returns a file name with a checksum of the part's problems, so that a part for other problems is not reused."""
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
