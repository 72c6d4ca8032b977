"""The files of a run's directory. What a record or a checkpoint holds is decided elsewhere."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Literal

import yaml

from tgpo.errors import RequestError
from tgpo.runs.files import claim, read_json, read_yaml, write_whole
from tgpo.runs.jsonl import drop_after, read_records
from tgpo.runs.keys import current_config

SWEEP_PLAN = "sweep.json"  # in a sweep's folder: lists its runs, also those that never began

State = Literal["running", "done", "failed", "interrupted"]


class RunDirectory:
    """`config.yaml`, `provenance.json`, `status.json`; each is complete or absent at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.started, self._began = time.time(), time.monotonic()

    def create(self, resolved: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Writes the configuration, which claims the folder for this run, and the provenance.

        Raises RequestError if the folder holds a run. A run that is killed afterwards can be resumed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / "status.json").exists() or not claim(self.path / "config.yaml", rendered(resolved)):
            raise RequestError(f"{self.path} already holds a run; go on with it (resume={self.path}) or move it away")
        write_whole(self.path / "provenance.json", json.dumps(provenance, indent=1) + "\n")

    def write_config(self, resolved: dict[str, Any]) -> None:
        write_whole(self.path / "config.yaml", rendered(resolved))

    def note_resume(self, provenance: dict[str, Any]) -> None:
        """Appends the provenance of a resumption: versions, hardware or revision may have changed since the start."""
        path = self.path / "provenance.json"
        record = read_json(path)  # empty if the run was killed before it wrote one
        record.setdefault("resumed", []).append(provenance)
        write_whole(path, json.dumps(record, indent=1) + "\n")

    def config(self) -> dict[str, Any]:
        path = self.path / "config.yaml"
        if not path.is_file():
            raise RequestError(f"resume={self.path}: no run there (no config.yaml)")
        return read_config(path)

    def drop_after(self, step: int) -> None:
        """Removes the records that a resumed run will write again."""
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            drop_after(self.path / name, step)

    def evaluated(self, step: int) -> bool:
        """Returns whether the evaluation of that step is recorded; it is not if it was stopped, or was not due then."""
        records = read_records(self.path / "metrics.jsonl")
        return any(record["step"] == step and record["kind"] == "eval" for record in records)

    def status(self, state: State, step: int, reason: str | None = None) -> None:
        # the duration is not a difference of wall-clock times: the clock may be set in between
        timings = {"started": self.started, "updated": time.time(), "seconds": time.monotonic() - self._began}
        record = {"status": state, "step": step, "reason": reason, "timings": timings}
        write_whole(self.path / "status.json", json.dumps(record, indent=1) + "\n")


class ReadOnly(RunDirectory):
    """The same without writing, for the other processes of a run."""

    def create(self, resolved: dict[str, Any], provenance: dict[str, Any]) -> None:
        pass

    def write_config(self, resolved: dict[str, Any]) -> None:
        pass

    def note_resume(self, provenance: dict[str, Any]) -> None:
        pass

    def drop_after(self, step: int) -> None:
        pass

    def status(self, state: State, step: int, reason: str | None = None) -> None:
        pass


def complete(folder: Path) -> list[Path]:
    """Returns the checkpoints that were renamed into place, oldest first, without checking that they are intact.

    Everything else in the folder is ignored: checkpoints that a kill left incomplete, and files of others.
    """
    named = (path for path in folder.glob("step-*") if re.fullmatch(r"step-(0|[1-9][0-9]*)", path.name))
    return sorted((path for path in named if path.is_dir()), key=step_of)


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read_config(path: Path) -> dict[str, Any]:
    """Returns a run's `config.yaml`; the names of an older version are replaced by the current ones."""
    return current_config(read_yaml(path))


def rendered(resolved: dict[str, Any]) -> str:
    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
