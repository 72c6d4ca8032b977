"""Finds the options that a dataset needs, for messages: which columns hold prompts and answers, and in which form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tgpo.tasks.answer import last_boxed
from tgpo.tasks.answers import AnswerForm
from tgpo.tasks.cells import MISSING, field, likely_field

# what columns are called in public datasets, the likeliest first
KNOWN = {
    "prompt_column": ("prompt", "problem", "question", "instruction", "query", "input", "messages", "conversations"),
    "answer_column": (
        "answer", "final_answer", "reward_model", "ground_truth", "expected_answer", "gold", "target", "label",
        "answers", "solution", "extra_info",
    ),
}  # fmt: skip
HASHES = re.compile(r"####[ \t]*\S")


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the name of every column and the dotted name of every field inside a column."""
    return list(dict.fromkeys(name for row in rows for name in names_inside(row)))


def names_inside(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield f"{prefix}{name}"
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping):
                yield from names_inside(part, f"{prefix}{name}.")


def options_for(section: str, missing: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the options that name columns which are there, as the end of a message; empty if none is known.

    `missing` are the columns that are not there, as {option: name}. A single one that may be misspelt gives none.
    """
    top = [name for name in column_names(rows) if "." not in name]
    if len(missing) == 1 and difflib.get_close_matches(next(iter(missing.values())), top):
        return ""
    chosen = {option: next((name for name in KNOWN.get(option, ()) if name in top), None) for option in missing}
    if None in chosen.values():
        return ""
    return "; set " + " ".join(
        f"{section}.{option}={name if option == 'prompt_column' else with_field(name, rows)}"
        for option, name in chosen.items()
        if name is not None
    )


def with_field(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the column's name, with that of the field that holds the answer if the column has fields."""
    value = next((cell for row in rows if (cell := field(row, column)) not in (None, MISSING)), None)
    inner = likely_field(value)
    return column if inner is None else f"{column}.{inner}"


def answer_form_of(cells: Sequence[Any]) -> AnswerForm:
    """Returns how answers are read that say nothing else: worked solutions end with `####` or have a box among words.

    More than half of the cells must be of that form; otherwise, an answer is its complete cell.
    """
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if 2 * sum(bool(HASHES.search(text)) for text in texts) > len(texts):
        return "after_hashes"
    if 2 * sum(has_box_among_words(text) for text in texts) > len(texts):
        return "last_boxed"
    return "verbatim"


def has_box_among_words(text: str) -> bool:
    inside = last_boxed(text)
    return inside is not None and len(re.sub(r"[\s$.]", "", text)) > len(re.sub(r"[\s$.]", "", inside)) + len(
        r"\boxed{}"
    )
