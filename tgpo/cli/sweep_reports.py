"""Reports at the end of a sweep: one page over its runs, and the lines that are printed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tgpo.errors import INTERRUPTED, REQUEST_IS_WRONG, STOPPED, RequestError, program
from tgpo.runs.directory import RunDirectory
from tgpo.runs.sweep import Cell, Outcome


def report(sweep: Path, cells: Sequence[Cell]) -> None:
    """Writes one page over all runs that were started; uploads it to W&B if the runs are logged there."""
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
    """The lines that are printed at the end of a sweep, and its exit code."""

    lines: list[str]
    code: int


def ending(sweep: Path, cells: Sequence[Cell], outcomes: dict[str, Outcome], interrupted: bool) -> Ending:
    """Returns a line for each run that is not done, and the exit code. `outcomes` come from this process, all else from
    the disk."""
    unfinished = [cell for cell in cells if outcomes.get(cell.folder, Outcome()).code or not cell.is_done(sweep)]
    lines = [f"{len(cells) - len(unfinished)} of {len(cells)} runs done   {sweep}"]
    lines += [f"  {cell.folder}: {why(cell, sweep, outcomes)}" for cell in unfinished]
    refused = [c for c in unfinished if outcomes.get(c.folder, Outcome()).code == REQUEST_IS_WRONG]
    if refused:
        lines.append("what was refused will be refused again: fix its options and start a new sweep")
    if len(unfinished) > len(refused):
        where = os.path.relpath(sweep) if sweep.is_relative_to(Path.cwd()) else sweep
        lines.append(f"run them again with: {program()} -m rerun=failed {shlex.quote(f'sweep_dir={where}')}")
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
            return "done, but its process failed afterwards"
        case state:
            return f"{state} at step {status['step']}: {status['reason']}"
