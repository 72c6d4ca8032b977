"""Where a run's records go: JSON lines always, other places beside them. One file a place; this one knows none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol, Self

from tgpo.errors import writing


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


class JsonLines:
    """One JSON object a record, on disk before `write` returns. Numbers that are not finite are written as null.

    Without a buffer: what a full disk did not take would be written once more when the file is closed.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("ab", buffering=0)

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({key: finite(value) for key, value in record.items()}, ensure_ascii=False) + "\n"
        handle = self._file.fileno()
        end = os.fstat(handle).st_size
        with writing(self._path):
            try:
                left = memoryview(line.encode())
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(handle)
            except OSError:
                with suppress(OSError):  # half a record is none; where it has to stay, readers leave it out
                    os.ftruncate(handle, end)
                raise

    def attach(self, report: Path) -> None:
        """It lies in the same folder."""

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
