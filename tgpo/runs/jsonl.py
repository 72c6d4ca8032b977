"""Files of JSON lines: each record is appended and synced; a last line that a kill truncated is ignored."""

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
    """A `tgpo.metrics.writer.Sink`: one JSON object per record, on disk before `write` returns.

    NaN and infinity become null. The file is unbuffered: otherwise, what a full disk did not accept would be written
    again when the file is closed.
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
                with suppress(OSError):  # remove a partial record; if that fails, readers ignore it
                    os.ftruncate(handle, end)
                raise

    def attach(self, report: Path) -> None:
        """Does nothing: the report is in the same folder."""

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Lines(NamedTuple):
    """The `records` of a file and the lines (`texts`) they were read from; `cut` is 1 if the last line is truncated."""

    records: list[Record]
    texts: list[bytes]
    cut: int


def read_lines(path: Path) -> Lines:
    """Returns every record of a file, none if there is no file. Raises RequestError for a bad line before the last.

    The file is split at line feeds only: a response may hold other characters that Python takes for line ends.
    """
    if path.is_dir():
        raise RequestError(f"{path}: a folder, where a file of records is expected")
    content = path.read_bytes().removesuffix(b"\n") if path.is_file() else b""
    texts = content.split(b"\n") if content else []
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
    """Removes the records after `step`, and a truncated last line."""
    if path.exists():
        lines = read_lines(path)
        kept = [text for text, record in zip(lines.texts, lines.records, strict=True) if record["step"] <= step]
        write_whole(path, "".join(text.decode() + "\n" for text in kept))
