"""A sweep on disk: its cells, the state of each, and which are left to run. Does not depend on the launcher.

`sweep.json` in the sweep's folder is written before the first run begins. Everything else is read from the
runs' own `status.json`, so that it is correct however the sweep ended.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tgpo.errors import RequestError
from tgpo.runs.directory import SWEEP_PLAN as PLAN
from tgpo.runs.directory import complete
from tgpo.runs.files import make_folder, read_json, write_whole
from tgpo.runs.keys import OF_THE_SWEEP, current_override, option_of

LONGEST_NAME = 160  # bytes of a folder's name that is made of overrides; file systems allow 255


@dataclass(frozen=True)
class Outcome:
    """What a run of a sweep returns in place of an exit code; `reason` is one line that says why it is not done."""

    code: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its folder within the sweep's, and the options that define it."""

    folder: str
    overrides: tuple[str, ...]

    def status(self, sweep: Path) -> dict[str, Any]:
        return read_json(sweep / self.folder / "status.json")

    def state(self, sweep: Path) -> str:
        return self.status(sweep).get("status", "not started")

    def began(self, sweep: Path) -> float:
        """Returns the time at which its last attempt began, in seconds since the epoch; 0 if there was none."""
        return self.status(sweep).get("timings", {}).get("started", 0.0)

    def is_done(self, sweep: Path) -> bool:
        return self.state(sweep) == "done"


def name_cells(expanded: Sequence[Sequence[str]]) -> list[Cell]:
    """Returns the cells, named `<n>_<overrides>` by the overrides that not all runs have (by all if none differs)."""
    expanded = [[o for o in overrides if option_of(o) not in OF_THE_SWEEP] for overrides in expanded]
    if not expanded:
        return []
    common = set.intersection(*map(set, expanded))
    varied = {option_of(o) for overrides in expanded for o in overrides if o not in common}
    named = (varied or {option_of(o) for o in expanded[0]}) - {"experiment"}
    cells = []
    for number, overrides in enumerate(expanded):
        name = re.sub(r"[^\w=,.:+@\[\]-]", "_", ",".join(o for o in overrides if option_of(o) in named))
        cells.append(Cell(folder_name(f"{number}_{name}" if name else str(number)), tuple(overrides)))
    return cells


def write_plan(sweep: Path, cells: Sequence[Cell], arguments: Sequence[str]) -> None:
    if (sweep / PLAN).exists():
        raise RequestError(f"{sweep} already holds a sweep; go on with it (rerun=failed) or give another sweep_dir")
    if not cells:
        raise RequestError("the sweep has no runs: one of its options has no values")
    make_folder(sweep, "sweep_dir")
    kept = [a for a in arguments if option_of(a) not in OF_THE_SWEEP]
    today = datetime.date.today().isoformat()
    plan = {"date": today, "arguments": kept, "cells": [asdict(cell) for cell in cells]}
    write_whole(sweep / PLAN, json.dumps(plan, indent=1) + "\n")


def day_of(sweep: Path) -> str | None:
    """Returns the date on which a sweep began, which all its runs take for today's; None outside a sweep."""
    return read_json(sweep / PLAN).get("date")


def read_plan(sweep: Path, arguments: Sequence[str]) -> list[Cell]:
    """Returns the cells of a sweep that ended early. Raises RequestError for options that the sweep did not have."""
    if not (sweep / PLAN).is_file():
        raise RequestError(f"rerun=failed: no sweep in {sweep} (no {PLAN})")
    plan = read_json(sweep / PLAN)
    try:
        began_with = plan["arguments"]
        cells = [Cell(cell["folder"], tuple(map(current_override, cell["overrides"]))) for cell in plan["cells"]]
    except (KeyError, TypeError):
        raise RequestError(f"{sweep / PLAN}: not the record of a sweep; start a new one") from None
    kept = [a for a in arguments if option_of(a) not in OF_THE_SWEEP]
    if other := [a for a in kept if a not in began_with]:
        raise RequestError(
            f"rerun=failed runs the cells of {sweep} with their own options; leave out '{other[0]}', or start a new "
            "sweep with it"
        )
    return cells


def sweeps_below(parent: Path) -> list[Path]:
    """Returns the folders of sweeps, in the order in which they began: their names are dates."""
    return sorted(path.parent for path in parent.glob(f"*/{PLAN}"))


def newest_sweep(parent: Path) -> Path:
    sweeps = sweeps_below(parent)
    if not sweeps:
        raise RequestError(f"rerun=failed: no sweep below {parent}; name its folder with sweep_dir=...")
    return sweeps[-1]


class Lock:
    """A lock for as long as the sweep's process lives: a second process would write into the same folders."""

    def __init__(self, sweep: Path) -> None:
        import fcntl

        self.file = (sweep / ".lock").open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise RequestError(f"the sweep in {sweep} is still running; wait for it, or stop it first") from None

    def release(self) -> None:
        self.file.close()


def begin_again(directory: Path) -> bool:
    """Prepares another attempt at a run: returns whether it can continue from a checkpoint, and if not empties its
    folder."""
    if not any((directory / name).exists() for name in ("config.yaml", "status.json")):
        return False
    if (directory / "config.yaml").is_file() and complete(directory / "checkpoints"):
        return True
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return False


def folder_name(text: str) -> str:
    """Returns the text as the name of one folder: no path separators, and not too long for a file system."""
    name = re.sub(r"[/\\\x00-\x1f]", "_", str(text)).replace("..", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{zlib.crc32(name.encode()):08x}"
