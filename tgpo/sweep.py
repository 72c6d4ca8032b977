"""A sweep on disk: its cells, what became of each, and what is left to run. Knows nothing of launchers.

`sweep.json` in the sweep's folder is written before the first run begins. All else is read from the runs' own
`status.json`, so that it is true after any kind of end.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tgpo.config import folder_name
from tgpo.errors import INTERRUPTED, REQUEST_IS_WRONG, STOPPED, RequestError
from tgpo.rundir import SWEEP_PLAN as PLAN
from tgpo.rundir import RunDirectory, complete, make_folder, read_json, write_whole

OF_THE_SWEEP = ("launcher", "rerun", "sweep_dir")  # options that are no part of a run


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
    expanded = [[o for o in overrides if option(o) not in OF_THE_SWEEP] for overrides in expanded]
    if not expanded:
        return []
    common = set.intersection(*map(set, expanded))
    varied = {option(o) for overrides in expanded for o in overrides if o not in common}
    shown = (varied or {option(o) for o in expanded[0]}) - {"experiment"}
    cells = []
    for number, overrides in enumerate(expanded):
        name = re.sub(r"[^\w=,.:+@\[\]-]", "_", ",".join(o for o in overrides if option(o) in shown))
        cells.append(Cell(folder_name(f"{number}_{name}" if name else str(number)), tuple(overrides)))
    return cells


def option(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def write_plan(sweep: Path, cells: Sequence[Cell], arguments: Sequence[str]) -> None:
    if (sweep / PLAN).exists():
        raise RequestError(f"{sweep} already holds a sweep; go on with it (rerun=failed) or give another sweep_dir")
    if not cells:
        raise RequestError("the sweep has no runs: one of its options has no values")
    make_folder(sweep, "sweep_dir")
    kept = [a for a in arguments if option(a) not in OF_THE_SWEEP]
    plan = {"arguments": kept, "cells": [asdict(cell) for cell in cells]}
    write_whole(sweep / PLAN, json.dumps(plan, indent=1) + "\n")


def read_plan(sweep: Path, arguments: Sequence[str]) -> list[Cell]:
    """The cells of a sweep that ended early. Options beside the sweep's own would be of another sweep: refused."""
    if not (sweep / PLAN).is_file():
        raise RequestError(f"rerun=failed: no sweep in {sweep} (no {PLAN})")
    plan = read_json(sweep / PLAN)
    try:
        began_with, cells = plan["arguments"], [Cell(c["folder"], tuple(c["overrides"])) for c in plan["cells"]]
    except (KeyError, TypeError):
        raise RequestError(f"{sweep / PLAN}: not the record of a sweep; start a new one") from None
    kept = [a for a in arguments if option(a) not in OF_THE_SWEEP]
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


def report(sweep: Path, cells: Sequence[Cell]) -> None:
    """One page over all runs that left anything to report on; in W&B too, where the runs are."""
    configs = [
        RunDirectory(sweep / cell.folder).config() for cell in cells if (sweep / cell.folder / "config.yaml").is_file()
    ]
    if not configs:
        return
    from tgpo.report.sweep_page import write_sweep_report

    try:
        page = write_sweep_report([sweep], say=lambda _: None)
    except RequestError as error:
        print(f"no report: {error}")
        return
    print(f"report          {page}")
    logger = configs[0]["logger"]
    if logger["backend"] != "wandb":
        return

    from tgpo.metrics.wandb import Home, log_sweep_report

    log_sweep_report(sweep, Home(logger["project"], logger["entity"], configs[0]["name"]), page)


@dataclass(frozen=True)
class Ending:
    """What the person who started the sweep is told, and its exit code."""

    lines: list[str]
    code: int


def ending(sweep: Path, cells: Sequence[Cell], outcomes: dict[str, Outcome], interrupted: bool) -> Ending:
    """Every run that is not done, with its reason. `outcomes` are of this process; the rest is what the disk says."""
    unfinished = [cell for cell in cells if outcomes.get(cell.folder, Outcome()).code or not cell.is_done(sweep)]
    lines = [f"{len(cells) - len(unfinished)} of {len(cells)} runs done   {sweep}"]
    lines += [f"  {cell.folder}: {why(cell, sweep, outcomes)}" for cell in unfinished]
    refused = [c for c in unfinished if outcomes.get(c.folder, Outcome()).code == REQUEST_IS_WRONG]
    if refused:
        lines.append("what was refused stays so: mend its options and start a new sweep")
    if len(unfinished) > len(refused):
        where = os.path.relpath(sweep) if sweep.is_relative_to(Path.cwd()) else sweep
        lines.append(f"run them again with: python run.py -m rerun=failed {shlex.quote(f'sweep_dir={where}')}")
    codes = {outcomes[cell.folder].code for cell in unfinished if cell.folder in outcomes}
    if interrupted:
        return Ending(lines, INTERRUPTED)
    if REQUEST_IS_WRONG in codes:
        return Ending(lines, REQUEST_IS_WRONG)
    return Ending(lines, STOPPED if unfinished else 0)


def why(cell: Cell, sweep: Path, outcomes: dict[str, Outcome]) -> str:
    if cell.folder in outcomes and outcomes[cell.folder].reason:
        return str(outcomes[cell.folder].reason)
    status = cell.status(sweep)
    match status.get("status"):
        case None:
            return "never started"
        case "running":
            return f"killed at step {status['step']}, or still running elsewhere"
        case "done":
            return "done, but its last act failed"
        case state:
            return f"{state} at step {status['step']}: {status['reason']}"
