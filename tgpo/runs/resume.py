"""Where a resumed run goes on, and what its request may change. Light: known before anything heavy is imported."""

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
MOST_SHOWN = 8  # changes on a line
# about the command rather than the run; what the logger is, though it decides no number, does change the run's files
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
    """`checkpoint` is None where the run was killed before its first: it begins again, in the same folder."""

    checkpoint: Path | None = None
    skipped: tuple[str, ...] = ()  # newer checkpoints that are not intact: which file, and what befell it
    verified: bool = True
    changes: Changes = field(default_factory=dict)

    @property
    def step(self) -> int:
        return step_of(self.checkpoint) if self.checkpoint else 0

    def lines(self) -> Iterator[str]:
        """What the person who resumes has to know."""
        for problem in self.skipped:
            yield f"{problem}; going on from step-{self.step}"
        if not self.verified:
            yield f"checkpoints/step-{self.step}: an older version wrote it, without a manifest; taken as it is"
        if self.changes:
            yield f"changed from step {self.step + 1} on: {describe_changes(self.changes)}"

    def record(self) -> dict[str, Any]:
        """What provenance.json keeps of it."""
        changes = {key: list(pair) for key, pair in self.changes.items()}
        return {"from_step": self.step, "skipped": list(self.skipped), "verified": self.verified, "changes": changes}


def newest_intact(run: Path, within: str = "") -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files (those below the folder `within`) are as they were written, and what is wrong
    with those after it."""
    skipped: list[str] = []
    for path in reversed(complete(run / "checkpoints")):
        problem = checksums.damage(path, within)
        if problem is None:
            return path, skipped
        skipped.append(f"checkpoints/{path.name}/{problem}")
    return None, skipped


def pick(run: Path, changes: Changes, steps: int) -> Start:
    """Raises RequestError where there is nothing to go on from, and nothing to begin again without losing steps.

    Args:
        steps: what `train.steps` is from now on.
    """
    found, skipped = newest_intact(run)
    if found is None and skipped:
        raise RequestError(
            f"resume={run}: {'; '.join(skipped)}; no checkpoint before it is intact, start a new run without resume"
        )
    if found is None:
        check_nothing_is_lost(run)
        return Start(changes=changes)
    if steps < step_of(found):
        raise RequestError(f"resume={run}: train.steps={steps} and it stands at step {step_of(found)}; give more")
    return Start(found, tuple(skipped), checksums.is_listed(found), changes)


def check_nothing_is_lost(run: Path) -> None:
    """A run that was killed before its first checkpoint has no steps beyond it: where there are, somebody took it."""
    reached = max((record["step"] for record in read_records(run / "metrics.jsonl")), default=0)
    train = RunDirectory(run).config()["train"]
    first = min(train["checkpoint_every"], train["steps"])
    if reached > first or read_json(run / "status.json").get("status") == "done":
        raise RequestError(
            f"resume={run}: no complete checkpoint there, though it came to step {reached}: they were removed; "
            "start a new run without resume"
        )


def changed(own: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict, Changes]:
    """A run's configuration with what was asked for, and the keys in which that differs from what it was.

    `before` and `after` are composed today, without and with the new options: a default that has changed since the
    run began is no change of its own, and what follows from an option by interpolation is.
    """
    old, plain, asked = (dict(leaves(config)) for config in (own, before, after))
    wanted = {
        key: asked.get(key, ABSENT) for key in {**plain, **asked} if plain.get(key, ABSENT) != asked.get(key, ABSENT)
    }
    pairs = {key: (old.get(key, ABSENT), value) for key, value in wanted.items() if old.get(key, ABSENT) != value}
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


def describe_changes(changes: Changes) -> str:
    shown = [f"{key}: {old} -> {new}" for key, (old, new) in changes.items()]
    more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
    return ", ".join(shown[:MOST_SHOWN] + more)


def leaves(config: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every value by its key; a section without any has none."""
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
