"""Files of JSON lines: a record is appended whole and synced, and a last line that a kill cut short is left out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tgpo.errors import RequestError, writing
from tgpo.runs.files import write_whole

Record = dict[str, Any]


class JsonLines:
    """A `tgpo.metrics.writer.Sink`: one JSON object a record, on disk before `write` returns. NaN becomes null.

    It keeps no buffer: what a full disk did not take would otherwise be written once more when the file is closed.
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
                with suppress(OSError):  # half a record is taken away; where it has to stay, readers leave it out
                    os.ftruncate(handle, end)
                raise

    def attach(self, report: Path) -> None:
        """The report lies in the same folder."""

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Lines(NamedTuple):
    """`records` of a file and the `texts` they were read from; `cut` is 1 where a kill cut the last line short."""

    records: list[Record]
    texts: list[bytes]
    cut: int


def read_lines(path: Path) -> Lines:
    """Every record of a file, none where there is no file. Raises RequestError for a bad line that is not the last.

    The file is split at line feeds alone: a response may hold other characters that Python takes for line ends.
    """
    if path.is_dir():
        raise RequestError(f"{path}: a folder, where a file of records is expected")
    found = path.read_bytes().removesuffix(b"\n") if path.is_file() else b""
    texts = found.split(b"\n") if found else []
    records: list[Record] = []
    for number, text in enumerate(texts, start=1):
        try:
            record = json.loads(text)
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError:
            if number < len(texts):
                raise RequestError(f"{path}: line {number} is not JSON") from None
            return Lines(records, texts[:-1], 1)
        records.append(record)
    return Lines(records, texts, 0)


def read_records(path: Path) -> list[Record]:
    return read_lines(path).records


def drop_after(path: Path, step: int) -> None:
    """Keeps the records up to `step`; those after it go, and so does a last line that was cut short."""
    if path.exists():
        found = read_lines(path)
        kept = [text for text, record in zip(found.texts, found.records, strict=True) if record["step"] <= step]
        write_whole(path, "".join(text.decode() + "\n" for text in kept))
