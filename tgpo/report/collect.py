"""Reads a run's directory, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tgpo.errors import RequestError
from tgpo.runs.directory import read_config
from tgpo.runs.files import read_json
from tgpo.runs.jsonl import read_lines, read_records

WORDS = {"kind", "gradient/variance_method"}  # of a record, all that is not a number
HEADLINE = (
    "base accuracy", "final accuracy", "lowest accuracy", "first length", "final length", "truncated", "reverse KL",
    "gradient norm", "gradient variance", "first reverse KL",
)  # fmt: skip
LAST = 10  # steps at the end of a run that its training metrics are averaged over


@dataclass(frozen=True)
class RunFiles:
    """`train` and `evaluation` have a row a record and contract names as columns."""

    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    status: dict[str, Any]
    train: pd.DataFrame
    evaluation: pd.DataFrame
    cut: int  # last lines of metrics.jsonl that a kill cut short: none or one

    @property
    def tasks(self) -> list[str]:
        """The tasks of the evaluation records in their order; the first is the run's own."""
        names = [c.split("/")[1] for c in self.evaluation.columns if c.startswith("eval/")]
        return list(dict.fromkeys(names))

    @property
    def task(self) -> str | None:
        return self.tasks[0] if self.tasks else None

    @property
    def done(self) -> bool:
        return self.status.get("status") == "done"

    @property
    def choices(self) -> Mapping[str, str | None]:
        return self.config.get("choices") or {}

    @cached_property
    def rollouts(self) -> list[dict[str, Any]]:
        """Read when asked for: a sweep does not show them, and they are long."""
        return read_records(self.path / "rollouts.jsonl")

    def accuracy(self, task: str | None = None) -> pd.DataFrame:
        """`step`, `accuracy` on a task (the run's own by default); empty before the first evaluation."""
        column = f"eval/{task or self.task}/accuracy"
        if column not in self.evaluation:
            return pd.DataFrame({"step": [], "accuracy": []})
        found = self.evaluation[["step", column]].rename(columns={column: "accuracy"})
        return found.dropna().reset_index(drop=True)


def read_run(path: Path) -> RunFiles:
    if not (path / "config.yaml").is_file():
        raise RequestError(f"{path}: not a run directory (no config.yaml)")
    records, _, cut = read_lines(path / "metrics.jsonl")
    check_records(path / "metrics.jsonl", records)
    return RunFiles(
        path=path,
        config=read_config(path / "config.yaml"),
        provenance=read_json(path / "provenance.json"),
        status=read_json(path / "status.json"),
        train=frame([r for r in records if r.get("kind") == "train"]),
        evaluation=frame([r for r in records if r.get("kind") == "eval"]),
        cut=cut,
    )


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(records).drop(columns="kind") if records else pd.DataFrame({"step": []})


def check_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Each says its step, and what is evaluated is a number: figures and tables are made of these."""
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get("step"), int):
            raise RequestError(f"{path}: line {number} has no step")
        for name, value in record.items():
            if isinstance(value, str | list | dict | bool) and name not in WORDS:
                raise RequestError(f"{path}: line {number}: {name} is no number")


def run_numbers(run: RunFiles) -> dict[str, float]:
    """The numbers of `HEADLINE`, which a run is compared by. NaN where it was not measured.

    Lengths, truncation and reverse KL are means over the last ten steps, gradients over all. `final` is the last
    evaluation, which of a finished run is that of its last step.
    """
    accuracy, end = run.accuracy()["accuracy"], run.train.tail(LAST)
    values = (
        first(accuracy),
        last(accuracy),
        float(accuracy.min()) if len(accuracy) else float("nan"),
        first(column(run.train, "response/length_mean")),
        column(end, "response/length_mean").mean(),
        column(end, "response/truncated_fraction").mean(),
        column(end, "divergence/reverse_kl_k1").mean(),
        column(run.train, "gradient/norm").mean(),
        column(run.train, "gradient/variance").mean(),
        first(column(run.train, "divergence/reverse_kl_k1")),
    )
    found: dict[str, float] = dict(zip(HEADLINE, values, strict=True))
    for task in run.tasks[1:]:
        found[f"final accuracy, {task}"] = last(run.accuracy(task)["accuracy"])
    return found


def column(data: pd.DataFrame, name: str) -> pd.Series:
    return data[name].astype(float) if name in data else pd.Series(dtype=float)


def first(values: pd.Series) -> float:
    return float(values.iloc[0]) if len(values) else float("nan")


def last(values: pd.Series) -> float:
    return float(values.iloc[-1]) if len(values) else float("nan")
