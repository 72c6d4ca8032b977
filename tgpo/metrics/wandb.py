"""Weights & Biases beside the JSON lines: the same names, steps on the axis. Offline where there is no key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo.runs.jsonl import read_records

OVER_STEPS = "min,max,last"  # what W&B's table of runs has of each curve


@dataclass(frozen=True)
class Home:
    """Where in W&B a run belongs."""

    project: str
    entity: str | None
    group: str


class WandbSink:
    """One run of job type `train`: group, tags, config, every metric, its accuracies as summary, its report."""

    def __init__(self, directory: Path, home: Home, name: str, tags: Sequence[str], config: Mapping[str, Any]) -> None:
        self.run = start(directory, home, run_id(directory), name=name, job_type="train", tags=tags, config=config)
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")
        self._accuracies = accuracies(read_records(directory / "metrics.jsonl"))
        self._defined: set[str] = set()

    def write(self, record: Mapping[str, Any]) -> None:
        for name in filter(is_accuracy, record.keys() - self._defined):
            self.run.define_metric(name, step_metric="step", summary=OVER_STEPS)
            self._defined.add(name)
        self._accuracies += accuracies([record])
        self.run.log({key: value for key, value in record.items() if key != "kind"})

    def attach(self, report: Path) -> None:
        self.run.log_artifact(artifact(f"report-{self.run.id}", report))

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self.run.summary.update(dict(summary))
        if self._accuracies:
            base, best, final = self._accuracies[0], max(self._accuracies), self._accuracies[-1]
            self.run.summary.update({"accuracy/base": base, "accuracy/best": best, "accuracy/final": final})
        self.run.finish(exit_code=int(failed))


def is_accuracy(name: str) -> bool:
    return name.startswith("eval/") and name.endswith("/accuracy")


def accuracies(records: Iterable[Mapping[str, Any]]) -> list[float]:
    """Of each evaluation the first, which is the run's own task where that is among several."""
    found = ([value for name, value in record.items() if is_accuracy(name)] for record in records)
    return [values[0] for values in found if values]


def log_sweep_report(directory: Path, home: Home, report: Path) -> None:
    """The report over all runs of a sweep, as a run of job type `report` in the runs' own group."""
    run = start(directory, home, run_id(directory), name=f"report of {directory.name}", job_type="report")
    run.log_artifact(artifact(f"sweep-report-{run.id}", report))
    run.finish()


def artifact(name: str, report: Path) -> Any:
    """The page, with the tables and pictures beside it."""
    import wandb

    found = wandb.Artifact(name, type="report")
    for path in sorted(report.parent.iterdir()):
        found.add_file(str(path))
    return found


def start(directory: Path, home: Home, run: str, **described: Any) -> Any:
    """Online with a key and a server that answers, else offline: nothing is lost. `WANDB_MODE` decides first."""
    import wandb
    from wandb.errors import AuthenticationError, CommError

    def begin(mode: Any, identity: str) -> Any:
        return wandb.init(
            project=home.project,
            entity=home.entity,
            group=home.group,
            dir=str(directory),
            mode=mode,
            id=identity,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
            **described,
        )

    try:
        return begin(os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline"), run)
    except (CommError, AuthenticationError) as error:
        print(f"W&B cannot be reached ({error}); logging offline, later: wandb sync {directory}/wandb/offline-*")
        # wandb still holds the first id for the attempt that failed
        return begin("offline", f"{run}-offline")


def run_id(directory: Path) -> str:
    """Kept in the directory, so that a resumed run goes on in the same W&B run."""
    path = directory / "wandb_id"
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text()
