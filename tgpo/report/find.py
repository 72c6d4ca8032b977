"""Finds the runs below the given folders. Those that cannot be read are reported by name, never skipped silently."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tgpo.errors import RequestError, program
from tgpo.report.collect import RunFiles, read_run
from tgpo.runs.directory import SWEEP_PLAN
from tgpo.runs.files import read_json

RECORDS = {"config.yaml", "status.json", "metrics.jsonl", "provenance.json"}  # a folder with any of these is a run


@dataclass(frozen=True)
class Note:
    """A remark for the reader about some runs or folders: `text` is the remark, `names` are the runs or folders."""

    text: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.text}: {', '.join(self.names)}"


def find_runs(directories: Sequence[Path]) -> tuple[dict[str, RunFiles], list[Note]]:
    """Returns every readable run at or below the directories by its name, and notes on everything else found there."""
    for directory in directories:
        if not directory.is_dir():
            raise RequestError(f"{directory}: no such directory")
    root = common_root(directories)
    folders, empty = walk(directories)
    runs: dict[str, RunFiles] = {}
    unreadable: list[Note] = []
    for path in sorted(folders, key=natural):
        name = name_of(path, root)
        try:
            runs[name] = read_run(path)
        except RequestError as error:
            unreadable.append(Note(f"cannot be read ({str(error).removeprefix(f'{path}')[1:].strip(': ')})", (name,)))
    notes = [Note("empty folder", tuple(name_of(path, root) for path in sorted(empty, key=natural)))] if empty else []
    notes += unreadable
    if never := tuple(name_of(path, root) for path in planned(directories) if not path.is_dir()):
        notes.append(Note(f"planned, and never began ({program()} -m rerun=failed runs them)", never))
    cut = tuple(name for name, run in runs.items() if run.cut)
    if cut:
        notes.append(Note("last record cut short by a kill and left out", cut))
    if not runs:
        given, found = ", ".join(map(str, directories)), "; ".join(map(str, notes))
        raise RequestError(f"{given}: no readable run at or below" + (f" ({found})" if found else ""))
    return runs, notes


def planned(directories: Sequence[Path]) -> list[Path]:
    """Returns the folders of all planned runs of the sweeps at or one level below the directories."""
    plans = {
        plan.resolve()
        for directory in directories
        for plan in (*directory.glob(SWEEP_PLAN), *directory.glob(f"*/{SWEEP_PLAN}"))
    }
    try:
        return [plan.parent / cell["folder"] for plan in sorted(plans) for cell in read_json(plan)["cells"]]
    except (KeyError, TypeError):
        raise RequestError(f"{', '.join(map(str, sorted(plans)))}: not the record of a sweep; move it away") from None


def walk(directories: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Returns the folders that hold a run, and those that are empty. The subfolders of a run are not entered."""
    runs: dict[Path, Path] = {}
    empty: dict[Path, Path] = {}
    for directory in directories:
        for folder, below, files in os.walk(directory):
            path = Path(folder)
            if RECORDS & set(files):
                runs.setdefault(path.resolve(), path)
                below.clear()
            elif not below and not files:
                empty.setdefault(path.resolve(), path)
            below[:] = [name for name in below if not name.startswith(".")]
    return list(runs.values()), list(empty.values())


def common_root(directories: Sequence[Path]) -> Path:
    """Returns the folder that run names are relative to, and that holds the report by default."""
    return Path(os.path.commonpath([directory.resolve() for directory in directories]))


def name_of(path: Path, root: Path) -> str:
    resolved = path.resolve()
    return resolved.name if resolved == root else str(resolved.relative_to(root))


def natural(path: Path | str) -> list[tuple[int, int, str]]:
    """Returns a sort key that orders `2_x` before `10_x`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]
