"""Sends a run's records to the sinks: always to JSON lines, and to others as configured. Each has its own module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self


class Sink(Protocol):
    """A destination of records."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes one record, under contract names, with its `step` and `kind`."""
        ...

    def attach(self, report: Path) -> None:
        """Adds the run's report, after it has been written."""
        ...

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        """Closes the sink; no other call follows. `summary` has the last value of each name."""
        ...


class Writer:
    """Sends each record to every sink. At the end of its context it closes every sink, even if closing one fails."""

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
