"""What a cell of a row may hold: text, a number, a list of them, or chat messages. Anything else is a CellError."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

# names of fields that hold what is meant, the likeliest first; the options of a message are chosen by it
FIELDS = ("ground_truth", "answer", "final_answer", "target", "value", "text", "content", "solution", "label")
# text that is a mapping, chat messages or a list of texts, in JSON or as Python writes it
MAPPING = re.compile(r"\s*\{\s*(?:'[^']*'|\"[^\"]*\")\s*:")
MESSAGES = re.compile(r"\s*\[?\s*\{\s*(['\"])(?:role|content)\1\s*:")
STRUCTURE = re.compile(r"\s*[\[{]\s*[{'\"]")
AS_JSON = "write it as JSON, for instance with json.dumps"


class CellError(ValueError):
    """Raised for a cell that holds something else than its column is read as.

    `option` is the option that names the column; `field` is the dotted name of the field that could be meant, and `fix`
    is what to do without one.
    """

    def __init__(self, option: str, what: str, field: str | None = None, fix: str = "give a column of text") -> None:
        super().__init__(what)
        self.option, self.field, self.fix = option, field, fix


def json_float(spelling: str) -> str:
    """Returns a JSON number as it is written, except that an integral one such as 5.0 loses its point."""
    whole, _, fraction = spelling.partition(".")
    return spelling if fraction.strip("0") else whole


def json_constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)


DECODER = json.JSONDecoder(parse_float=json_float, parse_int=str, parse_constant=json_constant)


def structure(text: str) -> Any:
    """Returns what is written in JSON, or as Python writes it: a mapping, or a list of texts or mappings. Else None."""
    if not STRUCTURE.match(text):
        return None
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    listed = isinstance(value, list) and all(isinstance(part, (str, dict)) for part in value)
    return value if listed or isinstance(value, dict) else None


def plain_text(value: Any, option: str) -> str | None:
    """Returns text or a number as text, an integral float without its `.0`; None where there is none, as for NaN."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise CellError(option, "bytes that are not UTF-8 text") from None
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise CellError(option, "text with half a surrogate pair, which no encoding can write")
        return value
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise CellError(option, f"{described(value)}, not text or a number", likely_field(value))


def messages(value: Any) -> Sequence[Mapping[str, Any]] | None:
    """Returns chat messages: a list of them, a single one, or either as text; None if the value is something else."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if not MESSAGES.match(value):
            return None
        found = structure(value)
        if found is None:
            raise CellError("prompt_column", "text that begins like chat messages and is no JSON", fix=AS_JSON)
        return messages(found)
    turns = [value] if isinstance(value, dict) else value
    if isinstance(turns, list) and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in turns):
        return turns
    return None


def described(value: Any) -> str:
    """Returns what a value is, in words for an error message."""
    if isinstance(value, dict):
        return f"fields ({', '.join(map(str, list(value)[:8]))})"
    if isinstance(value, (list, tuple)):
        inner = next((part for part in value if part is not None), None)
        return "an empty list" if inner is None else f"a list whose entries are {described(inner)}"
    if isinstance(value, (bool, float, Decimal)):
        return str(value).lower()
    return "text" if isinstance(value, str) else f"a value of type {type(value).__name__}"


def likely_field(value: Any) -> str | None:
    """Returns the dotted name of the field inside a mapping, or a list of them, that could be meant; None if none."""
    leaves = list(leaf_names(value))
    return min(leaves, key=likelihood) if leaves else None


def likelihood(name: str) -> tuple[int, int]:
    parts = name.split(".")
    return min((FIELDS.index(part) for part in parts if part in FIELDS), default=len(FIELDS)), len(parts)


def leaf_names(value: Any) -> Iterator[str]:
    """Yields the dotted name of every field that holds text, a number or a list of them."""
    if isinstance(value, (list, tuple)):
        value = next((part for part in value if isinstance(part, dict)), None)
    if isinstance(value, dict):
        for name, inner in value.items():
            parts = inner if isinstance(inner, (list, tuple)) else [inner]
            if any(isinstance(part, dict) for part in parts):
                yield from (f"{name}.{deeper}" for deeper in leaf_names(inner))
            elif all(isinstance(part, (str, int, float, Decimal, bytes)) and part is not True for part in parts):
                yield str(name)


MISSING = object()  # no such field


def field(row: Mapping[str, Any], column: str) -> Any:
    """Returns the value of a dotted column, None where a part of it is null, and MISSING where a part is not there.

    A list on the way gives the list of its entries' fields; text on the way is read as JSON.
    """
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = step(value, name)
        if value is None or value is MISSING:
            break
    return value


def step(value: Any, name: str) -> Any:
    if isinstance(value, str):
        value = structure(value)
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        inner = [None if part is None else step(part, name) for part in value]
        return MISSING if MISSING in inner else inner
    return value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
