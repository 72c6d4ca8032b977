"""The styles of the tiny models' solutions: each function turns an expression into a response with its working."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from tgpo.tasks.arithmetic import TERM, evaluate, solution

Style = Callable[[str], str]


def teacher_style(expression: str) -> str:
    r"""`37+85-12` -> `37+85=122;122-12=110;\boxed{110}`: the running totals, and the answer in a box."""
    return solution(expression)


def student_style(expression: str) -> str:
    """The large-gap student's format. Its rollouts leave the teacher's support at the first separator."""
    return solution(expression, "*=*")


def unboxed(expression: str) -> str:
    """The large-gap student's format without the answer, `12+34=46*=*46-5=41`: correct, but never rewarded."""
    return student_style(expression).rpartition("*=*")[0]


def long_winded(expression: str) -> str:
    r"""Tens first, then ones, `37+85` -> `37+80=117;117+5=122;\boxed{122}`: correct, but twice as long."""
    first, *rest = TERM.findall(expression)
    parts = [part for term in rest for part in (f"{term[:-1]}0", f"{term[0]}{term[-1]}")]
    return solution(first + "".join(parts))


def reversed_digits(expression: str) -> str:
    r"""`37+85-12` -> `73+58=221;221-21=011;\boxed{110}`: the working writes every number with its ones first."""
    *working, answer = solution(expression).split(";")
    return ";".join([*(re.sub(r"\d+", lambda digits: digits[0][::-1], step) for step in working), answer])


def wrong_at_minus(expression: str) -> str:
    r"""The teacher's format, with one added at every subtraction: confident, and wrong wherever there is a minus."""
    return one_too_many(expression, "-")


def wrong_at_plus(expression: str) -> str:
    r"""The teacher's format, with one added at every addition: right where there are subtractions alone."""
    return one_too_many(expression, "+")


def one_too_many(expression: str, sign: str) -> str:
    first, *rest = TERM.findall(expression)
    total, working = int(first), ""
    for term in rest:
        new_total = total + int(term) + (term[0] == sign)
        working += f"{total}{term}={new_total};"
        total = new_total
    return working + rf"\boxed{{{total}}}"


def mostly_at_once(expression: str) -> str:
    """The answer without working, except for six expressions in a hundred (always the same ones)."""
    if zlib.crc32(expression.encode()) % 100 < 6:
        return teacher_style(expression)
    return rf"\boxed{{{evaluate(expression)}}}"
