"""Makes the page of `results/NAME` from what is committed of an experiment, without its runs.

`runs.csv` has a row per run, `curves.parquet` the metrics of the page's figures over the steps. A sitting is a set of
runs that were made together. Of runs published before 2026-11-27 only the band of each arm was kept (mean, lowest
and highest of a sitting's runs, to five digits), without `seed`; of later runs every step is kept.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.tables import Experiment
from tgpo.report.arms import tell_apart, text
from tgpo.report.collect import HEADLINE, RunFiles
from tgpo.report.comparison import Member, Sweep, compared
from tgpo.report.curves import PublishedCurves
from tgpo.report.find import Note
from tgpo.report.sweep_figures import CURVES, sweep_panels
from tgpo.report.sweep_page import render
from tgpo.runs.files import read_json, write_whole

PARTS = ("sweeps", "seeds", "revisions", "versions", "hardware")  # the parts of a sitting's record that are on the page
VALUES = ["runs", "value", "lowest", "highest"]


def write_published_page(experiment: Experiment) -> Path:
    """Writes `results/NAME/report.html`, one page of all the runs of an experiment, from what is committed alone."""
    sweep, curves = read_published(experiment)
    record = read_json(experiment.folder / "manifest.json")
    commands = [command for sitting in record["sittings"] for command in sitting["commands"]]
    page = render(
        sweep,
        sweep_panels(sweep, curves),
        [*dict.fromkeys(commands), record["command"], f"make page EXP={experiment.name}"],
        {"sittings": [{part: sitting[part] for part in PARTS} for sitting in record["sittings"]]},
        None,
    )
    write_whole(experiment.folder / "report.html", page)
    return experiment.folder / "report.html"


def read_published(experiment: Experiment) -> tuple[Sweep, PublishedCurves]:
    folder, rows = experiment.folder, rows_of(pd.read_csv(experiment.folder / "runs.csv"))
    curves = pd.read_parquet(folder / "curves.parquet")
    tasks = [name.split("/")[1] for name in curves["metric"].unique() if name.startswith("eval/")]
    by_name = {f"{row['sitting']}/{row['run']}": row for row in rows}
    arm_of = tell_apart({name: settings_of(row, experiment) for name, row in by_name.items()}, experiment.keys)
    members = [
        Member(name, published_run(row, experiment, tasks), int(row["seed"]), arm_of[name], "counted", numbers_of(row))
        for name, row in by_name.items()
    ]
    labels = {key_of(row, experiment): arm_of[name].label for name, row in by_name.items()}
    curves = curves.assign(arm=[labels[key_of(row, experiment)] for row in rows_of(curves[[*experiment.keys]])])
    return compared(members, arm_of, made_again(curves, members), tasks[0], (folder,)), PublishedCurves(curves)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def settings_of(row: dict[str, Any], experiment: Experiment) -> dict[str, str]:
    """Returns the options that identify a run's arm, written as on a page made from the runs themselves."""
    keys = ("objective", *experiment.keys) if "objective" in row else experiment.keys
    return {key: as_option(row[key]) for key in keys}


def as_option(value: Any) -> str:
    """Returns a CSV value as the configuration had it: the CSV has lists and booleans as in Python, null as empty."""
    if not isinstance(value, str) and pd.isna(value):
        return "null"
    if isinstance(value, str) and value.startswith("["):
        return text(json.loads(value))
    return text({"True": True, "False": False}.get(value, value) if isinstance(value, str) else value)


def key_of(row: dict[str, Any], experiment: Experiment) -> tuple[str, ...]:
    return tuple(as_option(row[key]) for key in experiment.keys)


def numbers_of(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in row if name in HEADLINE or name.startswith("final accuracy, ")}


def published_run(row: dict[str, Any], experiment: Experiment, tasks: list[str]) -> RunFiles:
    """Returns a run with the part of its files that is published: student, teacher and overrides."""
    names = {part: {"name": row[part], "path": row[part]} for part in ("student", "teacher")}
    return RunFiles(
        path=Path(str(row["run"])),
        config={"name": experiment.name, **names, "overrides": shlex.split(str(row["overrides"]))},
        provenance={},
        status={"status": "done"},
        train=pd.DataFrame({"step": []}),
        evaluation=pd.DataFrame({f"eval/{task}/accuracy": [] for task in tasks}),
        cut=0,
    )


def made_again(curves: pd.DataFrame, members: list[Member]) -> list[Note]:
    """Returns a note on arms with a run repeated in a later sitting: the earlier one cannot be taken out of a band."""
    in_curves = curves.groupby(["arm", "metric", "step"], observed=True)["runs"].sum().groupby("arm").max()
    counted = pd.Series([m.arm.label for m in members if m.arm]).value_counts()
    repeated = tuple(str(arm) for arm, runs in in_curves.items() if runs > counted[arm])
    return [Note("the curves hold a run that was made again later, beside the later one", repeated)] if repeated else []


def identities(runs: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    """Returns by a run's name what identifies the run in the curves: the options of its arm, and the seed."""
    options = pd.DataFrame(
        [{key: as_option(row[key]) for key in keys} for row in rows_of(runs)],
        index=runs["run"],
    )
    return options.assign(seed=runs["seed"].to_numpy())


def curve_rows(sweep: Sweep, records: pd.DataFrame, identity: pd.DataFrame, sitting: int) -> pd.DataFrame:
    """Returns the curves of a sweep's counted runs: a row per run, metric and step."""
    tasks = dict.fromkeys(task for member in sweep.of("counted") for task in member.run.tasks)
    metrics = [m for m in (*CURVES, *(f"eval/{task}/accuracy" for task in tasks)) if m in records]
    kept = records.loc[records["standing"] == "counted", ["run", "step", *metrics]]
    long = kept.melt(["run", "step"], var_name="metric").dropna(subset="value")
    long = long.join(identity, on="run").drop(columns="run").assign(runs=1, sitting=sitting)
    return long.assign(lowest=long["value"], highest=long["value"])


def with_committed(new: pd.DataFrame, committed: Path | None, keys: tuple[str, ...]) -> pd.DataFrame:
    """Returns the new rows and the committed ones, without committed seeds of an arm that were run again."""
    if committed is None or not committed.is_file():
        return new
    old = pd.read_parquet(committed).astype(dict.fromkeys((*keys, "metric"), object))
    again = set(zip(*(new[key] for key in keys), new["seed"], strict=True))
    keep = [row not in again for row in zip(*(old[key] for key in keys), old["seed"], strict=True)]
    return pd.concat([old[keep], new])


def write_curves(path: Path, rows: pd.DataFrame, keys: tuple[str, ...]) -> None:
    """Writes a small file: float32, names as categories, compressed."""
    rows = rows[[*keys, "seed", "sitting", "metric", "step", *VALUES]]
    rows = rows.astype(dict.fromkeys((*keys, "metric"), "string") | {"seed": "Int32", "sitting": "int8"})
    rows = rows.astype({"step": "int32", "runs": "int16", **dict.fromkeys(VALUES[1:], "float32")})
    rows = rows.sort_values([*keys, "metric", "sitting", "seed", "step"], kind="stable")
    aside = path.with_name(f".{path.name}.partial")
    rows.astype(dict.fromkeys((*keys, "metric"), "category")).to_parquet(aside, index=False, compression="zstd")
    aside.replace(path)
