"""Where metrics go: JSON lines always, Weights & Biases beside them."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Sink(Protocol):
    def write(self, record: Mapping[str, Any]) -> None: ...

    def close(self, summary: Mapping[str, Any]) -> None: ...


class JsonLines:
    """One JSON object a record, on disk before `write` returns. Numbers that are not finite are written as null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({key: finite(value) for key, value in record.items()}, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, summary: Mapping[str, Any]) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class WandbSink:
    """The same names in W&B, with the step as x-axis. Offline where there is no key: nothing is lost."""

    def __init__(
        self, directory: Path, project: str, entity: str | None, group: str, name: str, tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> None:  # fmt: skip
        import wandb
        from wandb.errors import AuthenticationError, CommError

        def start(mode: Any, run: str) -> Any:
            return wandb.init(
                project=project,
                entity=entity,
                group=group,
                name=name,
                tags=list(tags),
                config=dict(config),
                dir=str(directory),
                mode=mode,
                id=run,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )

        try:
            mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
            self.run = start(mode, run_id(directory))
        except (CommError, AuthenticationError) as error:
            print(f"W&B cannot be reached ({error}); logging offline, later: wandb sync {directory}/wandb/offline-*")
            # wandb still holds the first id for the attempt that failed
            self.run = start("offline", run_id(directory) + "-offline")
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def write(self, record: Mapping[str, Any]) -> None:
        self.run.log({key: value for key, value in record.items() if key != "kind"})

    def close(self, summary: Mapping[str, Any]) -> None:
        self.run.summary.update(dict(summary))
        self.run.finish()


def run_id(directory: Path) -> str:
    """Kept in the run's directory, so that a resumed run goes on in the same W&B run."""
    path = directory / "wandb_id"
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text()


class Writer:
    """Sends each record to every sink."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks

    def write(self, record: Mapping[str, Any]) -> None:
        for sink in self.sinks:
            sink.write(record)

    def close(self, summary: Mapping[str, Any]) -> None:
        for sink in self.sinks:
            sink.close(summary)
