"""Numbers into the pages of the repository: a table between two markers, a mean with its range."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tgpo.runs.files import write_whole


def fill(page: Path, name: str, text: str) -> None:
    """Puts `text`, which ends its last line, between `<!-- NAME -->` and `<!-- /NAME -->`; ValueError without them."""
    before = page.read_text(encoding="utf-8")
    there = re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*(?=<!-- /{re.escape(name)} -->)", re.S)
    after, found = there.subn(lambda _: text, before)
    if found != 1:
        raise ValueError(f"{page}: {found} places between <!-- {name} --> and <!-- /{name} -->, not one")
    write_whole(page, after)


def mean_and_range(values: Any, form: str) -> str:
    """`0.930 [0.917, 0.938]`: the mean of a column, its lowest and its highest."""
    return f"{values.mean():{form}} [{values.min():{form}}, {values.max():{form}}]"
