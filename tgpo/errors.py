"""The exceptions that are told in one line, without a traceback: a wrong request, and what had to stop."""

from __future__ import annotations

import argparse
import difflib
import errno
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

STOPPED, REQUEST_IS_WRONG, INTERRUPTED = 1, 2, 130  # exit codes


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


def program(command: str | None = None) -> str:
    """How this program, or another command of it, is called: `tgpo` where that is installed and was used."""
    if Path(sys.argv[0]).name == "tgpo":
        return "tgpo" if command is None else f"tgpo {command}"
    return "python run.py" if command is None else f"python -m tgpo.{command}"


class Parser(argparse.ArgumentParser):
    """argparse's own, with a mistake told as everywhere else: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        end(f"error: {message}; {self.prog} --help lists the options", REQUEST_IS_WRONG)


@contextmanager
def exit_on_error(if_interrupted: str = "interrupted") -> Iterator[None]:
    """Around what a program does: each of these exceptions, and Ctrl-C, ends it with its line and its exit code."""
    try:
        yield
    except RequestError as error:
        end(lines_of(error), REQUEST_IS_WRONG)
    except StoppedError as error:
        end(f"stopped: {error}", STOPPED)
    except KeyboardInterrupt:
        end(if_interrupted, INTERRUPTED)


def end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)


def lines_of(error: RequestError) -> str:
    """A line for each problem."""
    problems = error.problems if isinstance(error, ProblemsError) else [str(error)]
    return "\n".join(f"error: {without_credentials(problem)}" for problem in problems)


FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}


def no_room(error: BaseException) -> str | None:
    """What the disk says where it takes no more; None for another error. safetensors tells it in its text alone."""
    if isinstance(error, OSError) and error.errno in FULL:
        return FULL[error.errno]
    found = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return FULL.get(int(found[1])) if found else None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where the disk takes no more, the run stops and says at which path: the system's own error has none."""
    try:
        yield
    except Exception as error:
        if (reason := no_room(error)) is None:
            raise
        raise StoppedError(f"{path}: {reason}; make room") from error


def without_credentials(text: str) -> str:
    """The text with the user name and password of every address taken out: `http://...@host`."""
    return re.sub(r"(\w://)[^/\s'\"\[\],]*@", r"\1...@", text)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of valid names where none is near."""
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(choices)}" if 0 < len(choices) <= 20 else ""


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
