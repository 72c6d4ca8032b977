"""The exceptions that are reported in one line, without a traceback: a wrong request, or a run that had to stop."""

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
    """The request is wrong: the message says what and how to fix it, in one line. Exit code 2."""


class ProblemsError(RequestError):
    """Several things are wrong; each is printed on its own line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.problems[0]} (and {len(self.problems) - 1} more)"


class StoppedError(Exception):
    """A run whose request was right cannot continue; it leaves a checkpoint. Exit code 1."""


def program(command: str | None = None) -> str:
    """Returns the command line of this program or of another of its commands: `tgpo ...` if it was started that way."""
    if Path(sys.argv[0]).name == "tgpo":
        return "tgpo" if command is None else f"tgpo {command}"
    return "python run.py" if command is None else f"python -m tgpo.{command}"


class Parser(argparse.ArgumentParser):
    """argparse's parser, with errors reported as everywhere else: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        end(f"error: {message}; {self.prog} --help lists the options", REQUEST_IS_WRONG)


@contextmanager
def exit_on_error(if_interrupted: str = "interrupted") -> Iterator[None]:
    """Wraps a program's work: each of these exceptions, and Ctrl-C, ends the program with its line and exit code."""
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
    """Returns one line for each problem."""
    problems = error.problems if isinstance(error, ProblemsError) else [str(error)]
    return "\n".join(f"error: {without_credentials(problem)}" for problem in problems)


FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}


def no_room(error: BaseException) -> str | None:
    """Returns the reason if the disk accepts no more data, else None. safetensors has the code only in its message."""
    if isinstance(error, OSError) and error.errno in FULL:
        return FULL[error.errno]
    match = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return FULL.get(int(match[1])) if match else None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises StoppedError with the path if the disk accepts no more data; the system's own error does not name it."""
    try:
        yield
    except Exception as error:
        if (reason := no_room(error)) is None:
            raise
        raise StoppedError(f"{path}: {reason}; make room") from error


def without_credentials(text: str) -> str:
    """Returns the text without the user name and password of any address: `http://...@host`."""
    return re.sub(r"(\w://)[^/\s'\"\[\],]*@", r"\1...@", text)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?`, or the list of valid names if none is similar and there are at most 30."""
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(choices)}" if 0 < len(choices) <= 30 else ""


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
