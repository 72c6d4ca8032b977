"""Writes `results/NAME/` from a sweep: a row per run, its curves, a table, a figure, the record of what made them.

Table and figure are made from `runs.csv`, which is committed: `python -m experiments NAME --again` makes them again,
and `--page` makes the page from all committed files. `--add SWEEP` adds the runs of a further sweep, as one more
sitting in the manifest.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.published import curve_rows, identities, with_committed, write_curves
from experiments.sweeps import newest_sweep, sitting, sitting_number, write_manifest
from experiments.tables import Experiment, figure, label, tables
from tgpo.config.check import instantiate_section
from tgpo.errors import RequestError
from tgpo.report.arms import override_words
from tgpo.report.collect import RunFiles
from tgpo.report.comparison import Member, read_sweep
from tgpo.report.find import find_runs, planned
from tgpo.report.frames import records_frame
from tgpo.runs.files import read_json, write_whole
from tgpo.types.problem import TEACHER_NEEDS

CSV = {"index": False, "float_format": "%.12g"}


def publish(experiment: Experiment, sweeps: Sequence[Path] | None, add: bool = False) -> Path:
    """Writes the results from the sweeps (by default the newest of each), or with None from the committed runs.csv.

    With `add` the sweeps' runs are added to those that are committed: an experiment may be run in several sittings, on
    several machines. Returns the table's path.
    """
    if add and not sweeps:
        raise RequestError("--add: say which sweeps; those of multirun may be published already")
    if sweeps is not None:
        sweeps = sweeps or [newest_sweep(name) for name in experiment.sources]
        collect(experiment, sweeps, len(sweeps) if add else experiment.own, add)
    runs = pd.read_csv(experiment.folder / "runs.csv")
    write_whole(experiment.folder / "table.md", tables(runs, experiment))
    write_whole(experiment.folder / "figure.svg", figure(runs, experiment))
    return experiment.folder / "table.md"


def collect(experiment: Experiment, sweeps: Sequence[Path], own: int, add: bool) -> None:
    """Writes `runs.csv`, `curves.parquet` and the manifest. The first `own` sweeps are the experiment's own."""
    sweep = read_sweep(chosen(experiment, sweeps, own))
    counted = sweep.of("counted")
    done = {member.run.path.resolve() for member in counted}
    begun = [member.run.path for member in sweep.of("unfinished")]
    missing = begun if experiment.only else [path for path in planned(sweeps[:own]) if path.resolve() not in done]
    folder, keys = experiment.folder, experiment.keys
    folder.mkdir(parents=True, exist_ok=True)
    record = {"sweeps": [f"{path.parent.name}/{path.name}" for path in map(Path.resolve, sweeps)]}
    record |= sitting([member.run for member in counted], [path.name for path in missing])
    number = sitting_number(folder / "manifest.json", record, add)
    new = pd.DataFrame([row(member, keys) | {"sitting": number} for member in counted])
    new = new.reindex(columns=[*keys, *new.columns.difference(keys, sort=False)])
    runs = merged(new, folder / "runs.csv" if add else None, keys)
    write_whole(folder / "runs.csv", runs.to_csv(**CSV))
    curves_file = folder / "curves.parquet"
    curves = curve_rows(sweep, records_frame(sweep), identities(new, keys), number)
    write_curves(curves_file, with_committed(curves, curves_file if add else None, keys), keys)
    write_manifest(folder / "manifest.json", f"make reproduce EXP={experiment.name}", len(runs), record, add)


def merged(runs: pd.DataFrame, committed: Path | None, keys: tuple[str, ...]) -> pd.DataFrame:
    """Returns the new and the committed runs; where both have a seed of an arm, the new run."""
    if committed and committed.is_file():
        runs = pd.read_csv(StringIO(runs.to_csv(**CSV)))  # types and absent values as in the committed file
        runs = pd.concat([pd.read_csv(committed), runs]).drop_duplicates([*keys, "seed"], keep="last")
    return runs.sort_values([*keys, "seed"], kind="stable", key=lambda column: column.map(order))


def chosen(experiment: Experiment, sweeps: Sequence[Path], own: int) -> list[Path]:
    """Returns the folders of the runs that belong to the experiment."""
    own_runs = found(sweeps[:own])
    rows = set(experiment.only or [row_of(run, experiment) for run in own_runs])
    seeds = {run.config.get("seed") for run in own_runs}
    elsewhere = [run for run in found(sweeps[own:]) if run.config.get("seed") in seeds]
    return [run.path for run in [*own_runs, *elsewhere] if row_of(run, experiment) in rows]


def found(sweeps: Sequence[Path]) -> list[RunFiles]:
    return list(find_runs(sweeps)[0].values()) if sweeps else []


def row_of(run: RunFiles, experiment: Experiment) -> str:
    return label([setting(run, key) for key in experiment.rows], experiment.rows)


def order(value: Any) -> tuple[int, float, str]:
    """Returns a sort key: numbers by size, then text."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def row(member: Member, keys: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{key: value for key in keys if (value := setting(member.run, key)) is not None},
        "seed": member.seed,
        **member.numbers,
        **further(member.run),
        "run": member.name,
        **{part: setting(member.run, f"{part}.name") for part in ("student", "teacher") if part not in keys},
        "overrides": shlex.join(override_words(member.run)),
    }


def setting(run: RunFiles, key: str) -> Any:
    """Returns a choice, or a dotted option as resolved; None where `key` is not an option but a number of the run."""
    if key in run.choices:
        return run.choices[key]
    value: Any = run.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return str(value) if isinstance(value, list) else value


def further(run: RunFiles) -> dict[str, float]:
    """Returns how early a run was accurate (the mean accuracy over its evaluations), and what it cost."""
    objective, rollout = instantiate_section(dict(run.config), "objective"), run.config["rollout"]
    sampled = [objective.mix(g, rollout["group_size"]).student for g in range(rollout["prompts_per_batch"])]
    # the column is absent for an objective without rollouts of its own
    lengths = run.train.get("response/length_mean", pd.Series(dtype=float)).dropna()
    generated = float(lengths.sum()) * sum(sampled)
    return {
        "mean accuracy": float(run.accuracy()["accuracy"].mean()),
        "longest": float(lengths.max()),  # the largest mean of a batch
        "generated tokens": generated,
        "tokens the teacher scored": generated if objective.needs & TEACHER_NEEDS else 0.0,
        "tokens the teacher wrote": written(run),
        "gradient signal to noise": float(run.train["gradient/snr"].median()),
        # from the median step, so that times when the machine was busy or stopped have no influence
        "seconds of steps": float(run.train["time/step"].median() * len(run.train)),
        "seconds": float(run.status["timings"]["seconds"]),
    }


def written(run: RunFiles) -> float:
    """Estimates the tokens of the run's own demonstrations: all attempts, each of the kept ones' mean length."""
    folder = run.path / "demonstrations"
    if not (folder / "recipe.json").is_file():
        return 0.0
    kept = pd.concat([pd.read_parquet(part, columns=["response_ids"]) for part in folder.glob("*.parquet")])
    task, recipe, config = instantiate_section(dict(run.config), "task"), read_json(folder / "recipe.json"), run.config
    steps, prompts = range(1, config["train"]["steps"] + 1), config["rollout"]["prompts_per_batch"]
    problem_ids = {problem.id for k in steps for problem in task.train_problems(config["seed"], k, prompts)}
    return float(len(problem_ids) * recipe["keep"] * recipe["attempts"] * kept["response_ids"].map(len).mean())
