"""Determines where a resumed run continues, and which options may change. Imports nothing heavy, to fail early."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgpo.errors import RequestError
from tgpo.runs import checksums
from tgpo.runs.directory import RunDirectory, complete, step_of
from tgpo.runs.files import read_json
from tgpo.runs.jsonl import read_records
from tgpo.runs.keys import NOT_PART_OF_THE_EXPERIMENT, OF_THE_LOGGER

Key = tuple[str, ...]
Changes = dict[str, tuple[Any, Any]]  # the old value and the new one of each (dotted) key

ABSENT = "absent"
MOST_SHOWN = 8  # changes that a message lists
# about the command, not the run. The logger affects no number, but it does change the run's files: not one of these.
OF_THE_COMMAND = NOT_PART_OF_THE_EXPERIMENT - {*OF_THE_LOGGER}
FIXED = {
    "seed": "all that was drawn so far was drawn from the old one",
    "student": "its weights are the checkpoint's",
    "lora": "the checkpoint's adapters are of the old shape and scale",
    "objective._target_": "the optimiser's and the controllers' state is the old one's; for another objective start a "
    "new run, with student.path=RUN/checkpoints/step-N/model to go on from these weights",
}


@dataclass(frozen=True)
class Start:
    """Where a run resumes. `checkpoint` is None if it was killed before the first: it starts again in its folder."""

    checkpoint: Path | None = None
    skipped: tuple[str, ...] = ()  # newer checkpoints that are damaged: which file, and how
    verified: bool = True
    changes: Changes = field(default_factory=dict)

    @property
    def step(self) -> int:
        return step_of(self.checkpoint) if self.checkpoint else 0

    def lines(self) -> Iterator[str]:
        """Yields what the user who resumes the run needs to know."""
        for problem in self.skipped:
            yield f"{problem}; going on from step-{self.step}"
        if not self.verified:
            yield f"checkpoints/step-{self.step}: an older version wrote it, without a manifest; taken as it is"
        if self.changes:
            yield f"changed from step {self.step + 1} on: {describe_changes(self.changes)}"

    def record(self) -> dict[str, Any]:
        """Returns what provenance.json records of it."""
        changes = {key: list(pair) for key, pair in self.changes.items()}
        return {"from_step": self.step, "skipped": list(self.skipped), "verified": self.verified, "changes": changes}


def newest_intact(run: Path, within: str = "") -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint whose files (those below the folder `within`) are intact, and what is wrong with
    newer ones."""
    skipped: list[str] = []
    for path in reversed(complete(run / "checkpoints")):
        problem = checksums.damage(path, within)
        if problem is None:
            return path, skipped
        skipped.append(f"checkpoints/{path.name}/{problem}")
    return None, skipped


def pick(run: Path, changes: Changes, steps: int) -> Start:
    """Returns where the run resumes.

    Raises RequestError if no checkpoint is intact, unless the run had not reached its first, or if the run is already
    past `steps`.

    Args:
        steps: the value of `train.steps` for the resumed run.
    """
    checkpoint, skipped = newest_intact(run)
    if checkpoint is None and skipped:
        raise RequestError(
            f"resume={run}: {'; '.join(skipped)}; no checkpoint before it is intact, start a new run without resume"
        )
    if checkpoint is None:
        check_nothing_is_lost(run)
        return Start(changes=changes)
    if steps < step_of(checkpoint):
        raise RequestError(f"resume={run}: train.steps={steps} and it stands at step {step_of(checkpoint)}; give more")
    return Start(checkpoint, tuple(skipped), checksums.is_listed(checkpoint), changes)


def check_nothing_is_lost(run: Path) -> None:
    """Raises RequestError if a run without checkpoints got past the step of its first: then they were removed."""
    reached = max((record["step"] for record in read_records(run / "metrics.jsonl")), default=0)
    train = RunDirectory(run).config()["train"]
    first = min(train["checkpoint_every"], train["steps"])
    if reached > first or read_json(run / "status.json").get("status") == "done":
        raise RequestError(
            f"resume={run}: no complete checkpoint there, though it came to step {reached}: they were removed; "
            "start a new run without resume"
        )


def changed(own: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict, Changes]:
    """Returns a run's configuration with the requested changes, and the keys whose values differ from its own.

    `before` and `after` are composed from today's `conf/`, without and with the new options. So a default that has
    changed since the run began does not count as a change, and a value interpolated from a new option does.
    """
    old, default, requested = (dict(leaves(config)) for config in (own, before, after))
    differing = {
        key: requested.get(key, ABSENT)
        for key in {**default, **requested}
        if default.get(key, ABSENT) != requested.get(key, ABSENT)
    }
    pairs = {key: (old.get(key, ABSENT), value) for key, value in differing.items() if old.get(key, ABSENT) != value}
    config = copy.deepcopy(dict(own))
    for key, (_, value) in sorted(pairs.items(), key=lambda pair: pair[1][1] != ABSENT):  # removals first
        put(config, key, value)
    return config, {".".join(key): pair for key, pair in pairs.items()}


def check_changes(run: Path, changes: Changes, allowed: bool) -> None:
    for key, pair in changes.items():
        for fixed, reason in FIXED.items():
            if key == fixed or key.startswith(f"{fixed}."):
                change = describe_changes({key: pair})
                raise RequestError(f"resume={run}: {change} cannot change within a run: {reason}")
    if changes and not allowed:
        raise RequestError(
            f"resume={run} was begun with other options: {describe_changes(changes)}; to go on with the new ones add "
            "resume_with_changes=true, else leave them out"
        )


def changed_inputs(run: Path, now: Mapping[str, str], changes: Changes) -> Changes:
    """Returns the paths whose contents are not those that the run read last, among those that are no change of option.

    `now` has the digests of `tgpo.config.inputs`. What an older version did not record is no change.
    """
    record = read_json(run / "provenance.json")
    read: dict[str, str] = {}
    for part in (record, *record.get("resumed", ())):
        read |= part.get("inputs", {})
    return {key: (read[key], now[key]) for key in read.keys() & now.keys() - changes.keys() if read[key] != now[key]}


def check_inputs(run: Path, changes: Changes, allowed: bool) -> None:
    if changes and not allowed:
        raise RequestError(
            f"resume={run}: the contents of a path are not what the run has read (digests: "
            f"{describe_changes(changes)}); put them back, or add resume_with_changes=true to go on with what is there"
        )


def describe_changes(changes: Changes) -> str:
    lines = [f"{key}: {old} -> {new}" for key, (old, new) in changes.items()]
    more = [f"and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return ", ".join(lines[:MOST_SHOWN] + more)


def leaves(config: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yields every value with its key, as a tuple; an empty section yields none."""
    for name, value in config.items():
        if not prefix and name in OF_THE_COMMAND:
            continue
        key = (*prefix, str(name))
        if isinstance(value, Mapping):
            yield from leaves(value, key)
        else:
            yield key, value


def put(config: dict[str, Any], key: Key, value: Any) -> None:
    *above, name = key
    for part in above:
        if not isinstance(config.get(part), dict):
            config[part] = {}
        config = config[part]
    if value == ABSENT:
        config.pop(name, None)
    else:
        config[name] = value
