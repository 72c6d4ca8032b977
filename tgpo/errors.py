"""The one exception that means "the request is wrong": one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """What is wrong and how to mend it, in one line for the person who typed the command."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of valid names where none is near."""
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(choices)}" if len(choices) <= 20 else ""
