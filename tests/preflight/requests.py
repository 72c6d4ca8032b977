"""What the tests of the preflight share: requests that are refused, and what one row of the table says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compose import composed
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.preflight.checks import Row, inspect_all, preflight


def refused(*overrides: str) -> str:
    """What a run of this request is refused with, in one line."""
    with pytest.raises(RequestError) as caught:
        preflight(check(composed("output_dir=unused", *overrides)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def row(name: str, *overrides: str) -> Row:
    return next(row for row in inspect_all(check(composed("output_dir=unused", *overrides))) if row.name == name)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
