"""The exceptions that are told in one line, without a traceback: a wrong request, and a run that had to stop."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class RequestError(Exception):
    """What is wrong and how to mend it, in one line for the person who typed the command. Exit code 2."""


class ProblemsError(RequestError):
    """Several things are wrong: each is told in a line of its own."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.problems[0]} (and {len(self.problems) - 1} more)"


class StoppedError(Exception):
    """Why a run that was in order cannot go on; it leaves a checkpoint. Exit code 1."""


def without_credentials(text: str) -> str:
    """The text with the user name and password of every address taken out: `http://...@host`."""
    return re.sub(r"(\w://)[^/\s'\"\[\],]*@", r"\1...@", text)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of valid names where none is near."""
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(choices)}" if len(choices) <= 20 else ""
