"""Reads the directory of a run, finished or not."""

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

WORDS = {"kind", "gradient/variance_method"}  # the fields of a record that are not numbers
HEADLINE = (
    "base accuracy", "final accuracy", "lowest accuracy", "first length", "final length", "truncated", "reverse KL",
    "gradient norm", "gradient variance", "first reverse KL",
)  # fmt: skip
LAST = 10  # length, truncation and reverse KL are averaged over this many steps at the end of a run


@dataclass(frozen=True)
class RunFiles:
    """The files of a run. `train` and `evaluation` have a row per record and the contract's metric names as columns."""

    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    status: dict[str, Any]
    train: pd.DataFrame
    evaluation: pd.DataFrame
    cut: int  # number of lines at the end of metrics.jsonl that a kill cut short: 0 or 1

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
    def inputs(self) -> Mapping[str, str]:
        """The digests of what the run read by path, as it last read it; empty for a run of an older version."""
        parts = (self.provenance, *self.provenance.get("resumed", ()))
        return {key: digest for part in parts for key, digest in part.get("inputs", {}).items()}

    @property
    def choices(self) -> Mapping[str, str | None]:
        return self.config.get("choices") or {}

    @cached_property
    def rollouts(self) -> list[dict[str, Any]]:
        """The sampled rollouts, read at first access: they are long, and the page of a sweep does not contain them."""
        return read_records(self.path / "rollouts.jsonl")

    def accuracy(self, task: str | None = None) -> pd.DataFrame:
        """Returns `step` and `accuracy` on a task (by default the run's own); empty before the first evaluation."""
        column = f"eval/{task or self.task}/accuracy"
        if column not in self.evaluation:
            return pd.DataFrame({"step": [], "accuracy": []})
        data = self.evaluation[["step", column]].rename(columns={column: "accuracy"})
        return data.dropna().reset_index(drop=True)


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
    """Raises RequestError where a record has no step or a metric is not a number: figures and tables need both."""
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get("step"), int):
            raise RequestError(f"{path}: line {number} has no step")
        for name, value in record.items():
            if isinstance(value, str | list | dict | bool) and name not in WORDS:
                raise RequestError(f"{path}: line {number}: {name} is no number")


def run_numbers(run: RunFiles) -> dict[str, float]:
    """Returns the numbers of `HEADLINE`, by which runs are compared; NaN for a number that was not measured.

    Final length, truncation and reverse KL are means over the last ten steps, gradients over all steps. The final
    accuracy is that of the last evaluation, which in a finished run is the one after its last step.
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
    numbers: dict[str, float] = dict(zip(HEADLINE, values, strict=True))
    for task in run.tasks[1:]:
        numbers[f"final accuracy, {task}"] = last(run.accuracy(task)["accuracy"])
    return numbers


def column(data: pd.DataFrame, name: str) -> pd.Series:
    return data[name].astype(float) if name in data else pd.Series(dtype=float)


def first(values: pd.Series) -> float:
    return float(values.iloc[0]) if len(values) else float("nan")


def last(values: pd.Series) -> float:
    return float(values.iloc[-1]) if len(values) else float("nan")
