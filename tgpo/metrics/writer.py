"""Where a run's records go: JSON lines always, other places beside them. One file a place; this one knows none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self


class Sink(Protocol):
    """A place that records go to."""

    def write(self, record: Mapping[str, Any]) -> None:
        """One record, under contract names, with its `step` and `kind`."""
        ...

    def attach(self, report: Path) -> None:
        """The run's report, once it is written."""
        ...

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        """Nothing comes after it. `summary` holds the last value of each name."""
        ...


class Writer:
    """Sends each record to every sink, and closes all of them when its context ends, whichever of them fails."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks
        self.latest: dict[str, Any] = {}

    def write(self, record: Mapping[str, Any]) -> None:
        self.latest.update({key: value for key, value in record.items() if key != "kind"})
        for sink in self.sinks:
            sink.write(record)

    def attach(self, report: Path) -> None:
        for sink in self.sinks:
            sink.attach(report)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as closing:
            for sink in self.sinks:
                closing.callback(sink.close, self.latest, kind is not None)
