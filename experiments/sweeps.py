"""What the experiments share: the newest sweep's finished runs, and the record of what made a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgpo.errors import Parser, RequestError
from tgpo.report.collect import RunFiles
from tgpo.report.find import find_runs
from tgpo.report.reproduction import launch_commands, manifest
from tgpo.runs.files import read_json, write_whole
from tgpo.runs.sweep import sweeps_below

ROOT = Path(__file__).parents[1]


def newest_sweep(name: str) -> Path:
    folder = ROOT / "multirun" / name
    sweeps = sweeps_below(folder)
    if not sweeps:
        raise RequestError(f"{folder}: no sweep there yet; make one with: python run.py -m experiment={name}")
    return sweeps[-1]


def finished(sweep: Path) -> tuple[list[RunFiles], list[str]]:
    """Returns the runs that are done, and the names of all others, including those that cannot be read."""
    runs, notes = find_runs([sweep])
    done = [run for run in runs.values() if run.done]
    unreadable = [name for note in notes for name in note.names if name not in runs]
    return done, [name for name, run in runs.items() if not run.done] + unreadable


def asked_for(name: str, doc: str | None) -> tuple[list[RunFiles], list[str]]:
    """Returns `finished` of the sweep that is given on the command line of experiment NAME, by default its newest."""
    parser = Parser(prog=f"python -m experiments.{name}", description=doc)
    parser.add_argument("sweep", nargs="?", type=Path, help="the sweep's folder (default: the newest)")
    sweep = parser.parse_args().sweep or newest_sweep(name)
    done, unfinished = finished(sweep)
    if not done:
        raise RequestError(f"{sweep}: none of its runs is done")
    return done, unfinished


def sitting(done: Sequence[RunFiles], unfinished: Sequence[str]) -> dict[str, Any]:
    """Returns the record of a sitting, which is a set of runs that were made together."""
    return {
        "commands": launch_commands(done),
        "runs_done": len(done),
        "runs_not_done": list(unfinished),
        "seeds": sorted({run.config["seed"] for run in done}),
        **manifest(done),
        "seconds": float(sum(run.status["timings"]["seconds"] for run in done)),
    }


def sitting_number(path: Path, record: dict[str, Any], add: bool) -> int:
    """Returns the number that the record has or gets among the manifest's sittings; the same sweeps have the same."""
    sittings = read_json(path).get("sittings", []) if add else []
    same = [number for number, other in enumerate(sittings, start=1) if other["sweeps"] == record.get("sweeps")]
    return same[0] if same else len(sittings) + 1


def write_manifest(path: Path, command: str, runs: int, record: dict[str, Any], add: bool = False) -> None:
    """Writes the record of what made a result of so many runs: one sitting, or with `add` one more.

    A sitting of the same sweeps replaces the earlier one. Runs that were repeated in a later sitting are in both.
    """
    number = sitting_number(path, record, add)
    sittings = read_json(path).get("sittings", []) if add else []
    sittings[number - 1 : number] = [record]
    write_whole(path, json.dumps({"command": command, "runs_done": runs, "sittings": sittings}, indent=1) + "\n")
