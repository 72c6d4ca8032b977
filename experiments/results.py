"""From a sweep to `results/NAME/`: a row a run, a table, a figure, the report, the record of what made them.

All of it but the report is made from `runs.csv`, which is committed: `python -m experiments NAME --again` redoes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.sweeps import newest_sweep, write_manifest
from experiments.tables import Experiment, figure, label, tables
from tgpo.config import build
from tgpo.report.collect import RunFiles
from tgpo.report.find import find_runs, planned
from tgpo.report.sweep import Member, Sweep, read_sweep
from tgpo.report.sweep_page import write_page
from tgpo.rundir import read_json, write_whole
from tgpo.types import TEACHER_NEEDS


def publish(experiment: Experiment, sweeps: Sequence[Path] | None) -> Path:
    """Writes its results from the sweeps (the newest of each by default), or with None from the committed runs.csv."""
    if sweeps is not None:
        collect(experiment, sweeps or [newest_sweep(name) for name in experiment.sources])
    runs = pd.read_csv(experiment.folder / "runs.csv")
    write_whole(experiment.folder / "table.md", tables(runs, experiment))
    write_whole(experiment.folder / "figure.svg", figure(runs, experiment))
    return experiment.folder / "table.md"


def collect(experiment: Experiment, sweeps: Sequence[Path]) -> None:
    """`runs.csv`, the manifest and the report, from the runs themselves."""
    sweep = read_sweep(chosen(experiment, sweeps))
    experiment.folder.mkdir(parents=True, exist_ok=True)
    counted = sweep.of("counted")
    runs = pd.DataFrame([row(member, experiment.keys) for member in counted])
    runs = runs.sort_values([*experiment.keys, "seed"], kind="stable", key=lambda column: column.map(order))
    write_whole(experiment.folder / "runs.csv", runs.to_csv(index=False, float_format="%.12g"))
    command = f"make reproduce EXP={experiment.name}"
    done = {member.run.path.resolve() for member in counted}
    begun = [member.run.path for member in sweep.of("unfinished")]
    missing = (
        begun if experiment.only else [path for path in planned(sweeps[: experiment.own]) if path.resolve() not in done]
    )
    write_manifest(experiment.folder / "manifest.json", command, [m.run for m in counted], [p.name for p in missing])
    publish_report(sweep, experiment.folder)


def chosen(experiment: Experiment, sweeps: Sequence[Path]) -> list[Path]:
    """The folders of the runs that belong to the experiment."""
    own = found(sweeps[: experiment.own])
    rows = set(experiment.only or [row_of(run, experiment) for run in own])
    seeds = {run.config.get("seed") for run in own}
    elsewhere = [run for run in found(sweeps[experiment.own :]) if run.config.get("seed") in seeds]
    return [run.path for run in [*own, *elsewhere] if row_of(run, experiment) in rows]


def found(sweeps: Sequence[Path]) -> list[RunFiles]:
    return list(find_runs(sweeps)[0].values()) if sweeps else []


def row_of(run: RunFiles, experiment: Experiment) -> str:
    return label([str(setting(run, key)) for key in experiment.rows], experiment.rows)


def order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def publish_report(sweep: Sweep, folder: Path) -> None:
    """The sweep's page alone: its figures and frames are in it, or beside it in runs.csv."""
    aside = folder / ".report"
    write_page(sweep, aside, [])
    (aside / "report.html").replace(folder / "report.html")
    shutil.rmtree(aside)


def row(member: Member, keys: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{key: value for key in keys if (value := setting(member.run, key)) is not None},
        "seed": member.seed,
        **member.numbers,
        **further(member.run),
    }


def setting(run: RunFiles, key: str) -> Any:
    """A choice or a dotted option as it was resolved; None where `key` is no option but a number of the run."""
    if key in run.choices:
        return run.choices[key]
    found: Any = run.config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return str(found) if isinstance(found, list) else found


def further(run: RunFiles) -> dict[str, float]:
    """How soon it was good (the mean over its evaluations), and what it spent."""
    rollouts = run.config["rollout"]["prompts_per_batch"] * run.config["rollout"]["group_size"]
    # an objective without rollouts of its own has no such column
    lengths = run.train.get("response/length_mean", pd.Series(dtype=float)).dropna()
    generated = float(lengths.sum()) * rollouts
    asks_teacher = bool(build(dict(run.config), "objective").needs & TEACHER_NEEDS)
    return {
        "mean accuracy": float(run.accuracy()["accuracy"].mean()),
        "longest": float(lengths.max()),  # a batch's mean, at its longest
        "generated tokens": generated,
        "tokens the teacher scored": generated if asks_teacher else 0.0,
        "tokens the teacher wrote": written(run),
        "gradient signal to noise": float(run.train["gradient/snr"].median()),
        # of the median step: a machine that was busy or stopped for a while is not the objective's doing
        "seconds of steps": float(run.train["time/step"].median() * len(run.train)),
        "seconds": float(run.status["timings"]["seconds"]),
    }


def written(run: RunFiles) -> float:
    """Of the run's own demonstrations: all attempts, each as long as the mean of those that were kept."""
    folder = run.path / "demonstrations"
    if not (folder / "recipe.json").is_file():
        return 0.0
    kept = pd.concat(
        [pd.read_parquet(part, columns=["problem_id", "response_ids"]) for part in folder.glob("*.parquet")]
    )
    recipe = read_json(folder / "recipe.json")
    attempts = kept["problem_id"].nunique() * recipe["keep"] * recipe["attempts"]
    return float(attempts * kept["response_ids"].map(len).mean())
