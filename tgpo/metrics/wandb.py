"""Writes the records to Weights & Biases as well, under the same names, over steps. Offline if there is no key."""

from __future__ import annotations

import netrc
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from tgpo.runs.jsonl import read_records

SERVER = "https://api.wandb.ai"
PATIENCE = 3.0  # seconds within which the server accepts a connection
OVER_STEPS = "min,max,last"  # what W&B's table of runs shows for each curve


@dataclass(frozen=True)
class Home:
    """The project, entity and group of a run in W&B."""

    project: str
    entity: str | None
    group: str


class WandbSink:
    """Logs one run, of job type `train`, with its group, tags, config, metrics, report, and accuracies as summary."""

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
    """Returns the first accuracy of each evaluation, which is that of the run's own task if that is evaluated."""
    per_record = ([value for name, value in record.items() if is_accuracy(name)] for record in records)
    return [values[0] for values in per_record if values]


def log_sweep_report(directory: Path, home: Home, report: Path) -> None:
    """Logs the report over all runs of a sweep, as a run of job type `report` in the group of these runs."""
    run = start(directory, home, run_id(directory), name=f"report of {directory.name}", job_type="report")
    run.log_artifact(artifact(f"sweep-report-{run.id}", report))
    run.finish()


def artifact(name: str, report: Path) -> Any:
    """Returns an artifact with the report and the tables and pictures in its folder."""
    import wandb

    created = wandb.Artifact(name, type="report")
    for path in sorted(report.parent.iterdir()):
        created.add_file(str(path))
    return created


def start(directory: Path, home: Home, run: str, **described: Any) -> Any:
    """Starts a W&B run: online if there is a key and the server answers, else offline, so that no record is lost.

    `WANDB_MODE` takes precedence.
    """
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

    def offline(why: object, identity: str) -> Any:
        print(f"W&B cannot be reached ({why}); logging offline, later: wandb sync {directory}/wandb/offline-*")
        return begin("offline", identity)

    if mode := os.environ.get("WANDB_MODE"):
        return begin(mode, run)
    if has_key() and (problem := server_problem()):
        return offline(problem, run)
    try:
        return begin("online" if wandb.login(prompt=False) else "offline", run)
    except (CommError, AuthenticationError) as error:
        return offline(error, f"{run}-offline")  # wandb still reserves the first id for the failed attempt


def has_key() -> bool:
    """Returns whether there is a key for the server where wandb looks for one; the key itself is not read."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = server().hostname or ""
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        path = Path(name or "~/.netrc").expanduser()
        try:
            if path.is_file() and netrc.netrc(path).authenticators(host):
                return True
        except (netrc.NetrcParseError, OSError):
            continue
    return False


def server_problem() -> str | None:
    """Returns why the W&B server cannot be reached, or None if it can.

    To be called before anything that makes wandb send a request: its service process goes on trying to reach a server
    that does not answer, and the program waits for that process when it exits, for minutes or for ever.
    """
    address = server()
    host, port = address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
    proxy = urlsplit("" if proxy_bypass(host) else getproxies().get(address.scheme, ""))
    target = (proxy.hostname, proxy.port or 80) if proxy.hostname else (host, port)
    try:
        socket.create_connection(target, timeout=PATIENCE).close()
    except OSError as error:
        return f"{target[0]} does not answer: {error}"
    return None


def server() -> SplitResult:
    return urlsplit(os.environ.get("WANDB_BASE_URL", SERVER))


def run_id(directory: Path) -> str:
    """Returns the run's W&B id. It is stored in the directory, so that a resumed run continues the same W&B run."""
    path = directory / "wandb_id"
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text()
