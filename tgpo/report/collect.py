"""Reads a run's directory, finished or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tgpo.errors import RequestError
from tgpo.rundir import read_json


@dataclass(frozen=True)
class RunFiles:
    """`train` and `evaluation` have a row a record and contract names as columns."""

    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    status: dict[str, Any]
    train: pd.DataFrame
    evaluation: pd.DataFrame
    rollouts: list[dict[str, Any]]

    @property
    def task(self) -> str | None:
        """The task's name, as the evaluation records carry it."""
        names = [c.split("/")[1] for c in self.evaluation.columns if c.startswith("eval/")]
        return names[0] if names else None

    def accuracy(self) -> pd.DataFrame:
        """`step`, `accuracy`; empty before the first evaluation."""
        column = f"eval/{self.task}/accuracy"
        if column not in self.evaluation:
            return pd.DataFrame({"step": [], "accuracy": []})
        return self.evaluation[["step", column]].rename(columns={column: "accuracy"}).reset_index(drop=True)


def read_run(path: Path) -> RunFiles:
    if not (path / "config.yaml").is_file():
        raise RequestError(f"{path}: not a run directory (no config.yaml)")
    records = read_lines(path / "metrics.jsonl")
    return RunFiles(
        path=path,
        config=yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8")),
        provenance=read_json(path / "provenance.json"),
        status=read_json(path / "status.json"),
        train=frame([r for r in records if r.get("kind") == "train"]),
        evaluation=frame([r for r in records if r.get("kind") == "eval"]),
        rollouts=read_lines(path / "rollouts.jsonl"),
    )


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(records).drop(columns="kind") if records else pd.DataFrame({"step": []})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a last line cut short by a kill is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number != len(lines) - 1:
                raise RequestError(f"{path}: line {number + 1} is not JSON") from None
    return records
