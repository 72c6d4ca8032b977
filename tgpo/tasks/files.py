"""Reads the rows of one file with their values as written: Parquet, Arrow, JSON, JSON lines, CSV, and these compressed.

A file is opened by its very name, never as a pattern. JSON numbers keep their spelling and CSV cells are text, so no
date, number or missing value is guessed.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tgpo.tasks.cells import DECODER

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
COMPRESSED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ROWS_AT_ONCE = 1_000
SPACE = re.compile(r"[ \t\r\n]*")  # what JSON allows between values


def readable(path: Path) -> bool:
    return kind(path) in READERS


def kind(path: Path) -> str:
    """Returns the suffix that says how a file is read, without one for its compression."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED or suffix == ".zst" else suffix


def read(path: Path, columns: Collection[str] | None = None, separator: str | None = None) -> Iterator[Row]:
    """Yields each row as {column: value}; of a file of columns only those in `columns`, if it is given."""
    with opened(path) as file:
        yield from READERS[kind(path)](file, columns, separator)


def opened(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".zst":
        import pyarrow as pa

        return closing(pa.CompressedInputStream(path.open("rb"), "zstd"))
    return COMPRESSED.get(suffix, lambda p: p.open("rb"))(path)


def chosen(names: list[str], columns: Collection[str] | None) -> list[str]:
    """Returns those of the names that are in `columns`, all without it. Raises ValueError for a name met twice."""
    found = [name for name in names if columns is None or name in columns]
    if twice := [name for name in found if found.count(name) > 1]:
        raise ValueError(f"two columns are named {twice[0]}")
    return found


# --- text ---------------------------------------------------------------------------------------------------------


def text(file: IO[bytes], newline: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline)


def csv_rows(file: IO[bytes], columns: Collection[str] | None, separator: str | None = None) -> Iterator[Row]:
    """Yields the rows of a CSV file. A cell is text, and None if it is empty."""
    csv.field_size_limit(sys.maxsize)  # the default refuses cells of 128 KiB
    lines = csv.reader(text(file, ""), delimiter=separator or ",", strict=True)
    header = next(lines, [])
    chosen(header, columns)
    for cells in filter(None, lines):
        if len(cells) > len(header):
            raise ValueError(f"line {lines.line_num} has {len(cells)} cells and the first has {len(header)}")
        row: Row = dict.fromkeys(header)
        row.update((name, cell or None) for name, cell in zip(header, cells, strict=False))
        yield row


def tsv_rows(file: IO[bytes], columns: Collection[str] | None, separator: str | None = None) -> Iterator[Row]:
    yield from csv_rows(file, columns, separator or "\t")


def json_rows(file: IO[bytes], columns: Collection[str] | None, separator: str | None = None) -> Iterator[Row]:
    """Yields the rows of JSON lines, a JSON list of rows, rows one after another, or one object of columns."""
    stream = text(file, "\n")
    lines = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    try:
        first = next(lines, None)
        if first is not None and is_object(first[1]):
            yield from rows_of_lines(first, lines)
        elif first is not None:
            yield from rows_of_document(first[1] + stream.read())
    except UnicodeDecodeError as error:
        raise ValueError("JSON parse error: not UTF-8 text") from error


def is_object(line: str) -> bool:
    try:
        return isinstance(decoded(line, 1), dict)
    except ValueError:
        return False


def rows_of_lines(first: tuple[int, str], others: Iterator[tuple[int, str]]) -> Iterator[Row]:
    second = next(others, None)
    if second is None:  # one object in the file
        yield from rows_of_document(first[1])
        return
    for number, line in chain((first, second), others):
        yield checked(decoded(line, number))


def rows_of_document(document: str) -> Iterator[Row]:
    found, end = list[Any](), skip_space(document, 0)
    while end < len(document):
        value, end = decoded_from(document, end)
        found.append(value)
        end = skip_space(document, end)
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    elif len(found) == 1 and isinstance(found[0], dict):
        found = rows_of_columns(found[0]) or found
    yield from map(checked, found)


def skip_space(document: str, start: int) -> int:
    match = SPACE.match(document, start)
    return match.end() if match else start


def rows_of_columns(columns: Row) -> list[Row]:
    """Returns the rows of {column: list} or {column: {index: value}}; empty if the object is something else."""
    values = [list(v.values()) if isinstance(v, dict) else v for v in columns.values()]
    if not values or not all(isinstance(v, list) and len(v) == len(values[0]) > 1 for v in values):
        return []
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*values, strict=True)]


def decoded(line: str, number: int) -> Any:
    try:
        return DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"JSON parse error: {reason(error)}, line {number} of the file") from error


def decoded_from(document: str, start: int) -> tuple[Any, int]:
    try:
        return DECODER.raw_decode(document, start)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"JSON parse error: {reason(error)}") from error


def reason(error: Exception) -> str:
    return "too deeply nested" if isinstance(error, RecursionError) else str(error)


def checked(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"JSON parse error: a row is an object with columns, not {str(value)[:40]!r}")
    return value


# --- columns ------------------------------------------------------------------------------------------------------


def parquet_rows(file: IO[bytes], columns: Collection[str] | None, separator: str | None = None) -> Iterator[Row]:
    import pyarrow.parquet as pq

    source = pq.ParquetFile(file)
    names = chosen(source.schema_arrow.names, columns)
    yield from rows_of_batches(source.iter_batches(ROWS_AT_ONCE, columns=names), names)


def arrow_rows(file: IO[bytes], columns: Collection[str] | None, separator: str | None = None) -> Iterator[Row]:
    """Yields the rows of an Arrow stream, which is what `datasets` writes, or of an Arrow file."""
    import pyarrow as pa

    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    source: Any = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
    batches = map(source.get_batch, range(source.num_record_batches)) if is_file else source
    yield from rows_of_batches(batches, chosen(source.schema.names, columns))


def rows_of_batches(batches: Iterable[pa.RecordBatch], names: list[str]) -> Iterator[Row]:
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            piece = batch.slice(start, ROWS_AT_ONCE)
            cells = [values(piece.column(piece.schema.get_field_index(name))) for name in names]
            rows = zip(*cells, strict=True) if names else [()] * piece.num_rows
            yield from (dict(zip(names, row, strict=True)) for row in rows)


def values(column: pa.Array) -> list[Any]:
    """Returns a column's values. A float of 16 or 32 bits is the number of its shortest spelling, such as 0.1."""
    cells = column.to_pylist()
    return [own_precision(cell, column.type) for cell in cells] if is_narrow(column.type) else cells


def is_narrow(form: pa.DataType) -> bool:
    """Whether a type is a float of 16 or 32 bits, or has one inside."""
    import pyarrow as pa

    inside = (form.field(i).type for i in range(form.num_fields))
    return pa.types.is_float16(form) or pa.types.is_float32(form) or any(map(is_narrow, inside))


def own_precision(value: Any, form: pa.DataType) -> Any:
    import numpy as np
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_float16(form) or pa.types.is_float32(form):
        return float(str((np.float16 if pa.types.is_float16(form) else np.float32)(value)))
    if isinstance(value, dict):
        return {name: own_precision(inner, form.field(name).type) for name, inner in value.items()}
    if isinstance(value, list) and form.num_fields == 1 and not pa.types.is_map(form):
        return [own_precision(inner, form.field(0).type) for inner in value]
    return value


READERS: dict[str, Callable[[IO[bytes], Collection[str] | None, str | None], Iterator[Row]]] = {
    ".parquet": parquet_rows,
    ".json": json_rows,
    ".jsonl": json_rows,
    ".csv": csv_rows,
    ".ndjson": json_rows,
    ".tsv": tsv_rows,
    ".arrow": arrow_rows,
}
