"""A sweep on disk: its cells, what became of each, and what is left to run. Knows nothing of launchers.

`sweep.json` in the sweep's folder is written before the first run begins. All else is read from the runs' own
`status.json`, so that it is true after any kind of end.
"""

from __future__ import annotations

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

LONGEST_NAME = 160  # bytes of a folder's name that is made of overrides; file systems take 255


@dataclass(frozen=True)
class Outcome:
    """What a run of a sweep hands back in place of an exit code; `reason` is its one line where it is not done."""

    code: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: the folder within the sweep's, and the options that make it."""

    folder: str
    overrides: tuple[str, ...]

    def status(self, sweep: Path) -> dict[str, Any]:
        return read_json(sweep / self.folder / "status.json")

    def state(self, sweep: Path) -> str:
        return self.status(sweep).get("status", "not started")

    def began(self, sweep: Path) -> float:
        """When its last attempt did, as a time of day."""
        return self.status(sweep).get("timings", {}).get("started", 0.0)

    def is_done(self, sweep: Path) -> bool:
        return self.state(sweep) == "done"


def name_cells(expanded: Sequence[Sequence[str]]) -> list[Cell]:
    """`<n>_<overrides>`, of the overrides that not all runs have (all of them where none differs)."""
    expanded = [[o for o in overrides if option_of(o) not in OF_THE_SWEEP] for overrides in expanded]
    if not expanded:
        return []
    common = set.intersection(*map(set, expanded))
    varied = {option_of(o) for overrides in expanded for o in overrides if o not in common}
    shown = (varied or {option_of(o) for o in expanded[0]}) - {"experiment"}
    cells = []
    for number, overrides in enumerate(expanded):
        name = re.sub(r"[^\w=,.:+@\[\]-]", "_", ",".join(o for o in overrides if option_of(o) in shown))
        cells.append(Cell(folder_name(f"{number}_{name}" if name else str(number)), tuple(overrides)))
    return cells


def write_plan(sweep: Path, cells: Sequence[Cell], arguments: Sequence[str]) -> None:
    if (sweep / PLAN).exists():
        raise RequestError(f"{sweep} already holds a sweep; go on with it (rerun=failed) or give another sweep_dir")
    if not cells:
        raise RequestError("the sweep has no runs: one of its options has no values")
    make_folder(sweep, "sweep_dir")
    kept = [a for a in arguments if option_of(a) not in OF_THE_SWEEP]
    plan = {"arguments": kept, "cells": [asdict(cell) for cell in cells]}
    write_whole(sweep / PLAN, json.dumps(plan, indent=1) + "\n")


def read_plan(sweep: Path, arguments: Sequence[str]) -> list[Cell]:
    """The cells of a sweep that ended early. Options beside the sweep's own would be of another sweep: refused."""
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
    """The folders of sweeps, in the order in which they began: their names are dates."""
    return sorted(path.parent for path in parent.glob(f"*/{PLAN}"))


def newest_sweep(parent: Path) -> Path:
    found = sweeps_below(parent)
    if not found:
        raise RequestError(f"rerun=failed: no sweep below {parent}; name its folder with sweep_dir=...")
    return found[-1]


class Lock:
    """Held for as long as the sweep's process lives: a second one beside it would write into the same folders."""

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
    """Makes way for another attempt at a run; whether it can go on from a checkpoint. Else its folder is emptied."""
    if not any((directory / name).exists() for name in ("config.yaml", "status.json")):
        return False
    if (directory / "config.yaml").is_file() and complete(directory / "checkpoints"):
        return True
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return False


def folder_name(text: str) -> str:
    """The name of one folder, whatever the text contains, and not too long for a file system."""
    name = re.sub(r"[/\\\x00-\x1f]", "_", str(text)).replace("..", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{zlib.crc32(name.encode()):08x}"
