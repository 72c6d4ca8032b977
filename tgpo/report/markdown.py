"""Writes numbers into the Markdown pages of the repository: a table between two markers, a mean with its range."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tgpo.runs.files import write_whole


def fill(page: Path, name: str, text: str) -> None:
    """Replaces what is between `<!-- NAME -->` and `<!-- /NAME -->` by `text`, which has to end with a newline.

    Raises ValueError where the page does not have these markers exactly once.
    """
    before = page.read_text(encoding="utf-8")
    between = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*(?=<!-- /{re.escape(name)} -->)", re.S)
    after, count = between.subn(lambda _: text, before)
    if count != 1:
        raise ValueError(f"{page}: {count} places between <!-- {name} --> and <!-- /{name} -->, not one")
    write_whole(page, after)


def mean_and_range(values: Any, form: str) -> str:
    """Returns `0.930 [0.917, 0.938]`: the mean of a column, its lowest and its highest value."""
    return f"{values.mean():{form}} [{values.min():{form}}, {values.max():{form}}]"
