"""The files of a run's directory, other than its metrics and checkpoints."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import yaml

try:  # libyaml's reads a configuration ten times as fast, which counts over hundreds of runs
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader

from tgpo.errors import RequestError, writing

SWEEP_PLAN = "sweep.json"  # in a sweep's folder: its runs, also those that never began

State = Literal["running", "done", "failed", "interrupted"]


class RunDirectory:
    """`config.yaml`, `provenance.json`, `status.json`; each is whole or absent at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.started, self._began = time.time(), time.monotonic()

    def create(self, resolved: dict[str, Any], provenance: dict[str, Any]) -> None:
        """The configuration takes the folder: what is killed after it can be resumed, and nobody else has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / "status.json").exists() or not claim(self.path / "config.yaml", rendered(resolved)):
            raise RequestError(f"{self.path} already holds a run; go on with it (resume={self.path}) or move it away")
        write_whole(self.path / "provenance.json", json.dumps(provenance, indent=1) + "\n")

    def write_config(self, resolved: dict[str, Any]) -> None:
        write_whole(self.path / "config.yaml", rendered(resolved))

    def note_resume(self, provenance: dict[str, Any]) -> None:
        """Adds what resumes the run to what began it: versions, hardware or revision may have changed."""
        path = self.path / "provenance.json"
        record = read_json(path)  # empty where the run was killed before it wrote one
        record.setdefault("resumed", []).append(provenance)
        write_whole(path, json.dumps(record, indent=1) + "\n")

    def config(self) -> dict[str, Any]:
        path = self.path / "config.yaml"
        if not path.is_file():
            raise RequestError(f"resume={self.path}: no run there (no config.yaml)")
        return read_yaml(path)

    def drop_after(self, step: int) -> None:
        """Removes the records that a resumed run will write again."""
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            drop_after(self.path / name, step)

    def evaluated(self, step: int) -> bool:
        """Whether the evaluation of that step is on record; one that had to stop, or was not due then, is not."""
        found = (record for _, record in whole_records(self.path / "metrics.jsonl"))
        return any(record["step"] == step and record["kind"] == "eval" for record in found)

    def status(self, state: State, step: int, reason: str | None = None) -> None:
        # a duration is not a difference of two times of day: the clock may be set in between
        timings = {"started": self.started, "updated": time.time(), "seconds": time.monotonic() - self._began}
        record = {"status": state, "step": step, "reason": reason, "timings": timings}
        write_whole(self.path / "status.json", json.dumps(record, indent=1) + "\n")


class ReadOnly(RunDirectory):
    """The same for the processes beside the one that writes."""

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
    """Checkpoints that were renamed into place, oldest first; whether they still are what was written is not looked at.

    Whatever else is in the folder is passed over: what kills left half-written, and what others put there.
    """
    named = (path for path in folder.glob("step-*") if re.fullmatch(r"step-(0|[1-9][0-9]*)", path.name))
    return sorted((path for path in named if path.is_dir()), key=step_of)


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{path}: not a JSON object")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file."""
    try:
        found = yaml.load(path.read_bytes(), SafeLoader)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{path}: not a configuration")
    return found


def make_folder(path: Path, option: str) -> Path:
    """Made before the work that it is for; `option` is what named it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{option}={path}: {str(error.strerror).lower()}; give another folder") from error
    return path


def write_whole(path: Path, text: str) -> None:
    """Written aside, synced, renamed: a reader sees the old file or the new one."""
    aside = path.with_name(f".{path.name}.partial")
    with writing(path):
        write_synced(aside, text)
    os.replace(aside, path)


def write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def rendered(resolved: dict[str, Any]) -> str:
    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)


def claim(path: Path, text: str) -> bool:
    """Writes a file that is not there yet, whole at once; False where another did, be it in the same moment.

    Two runs that begin in one second have folders of one name, and one of them alone may have it.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")  # no temporary file of Python's, which others may not read
    with writing(path):
        try:
            write_synced(aside, text)
            os.link(aside, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if path.exists():
                return False
            path.write_text(text, encoding="utf-8")  # a file system without links
        finally:
            aside.unlink(missing_ok=True)
    return True


def drop_after(path: Path, step: int) -> None:
    """Keeps the records up to `step`; those after it go, and so does a last line cut short by a kill."""
    if path.exists():
        kept = [line for line, record in whole_records(path) if record["step"] <= step]
        write_whole(path, "".join(line + "\n" for line in kept))


def whole_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a file of JSON lines with its record, up to one that a kill cut short, be it within a character."""
    # at line feeds alone: a response may hold other characters that Python takes for the end of a line
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            yield line.decode(), json.loads(line)
        except ValueError:
            return
