"""How each tiny model writes its working: one function a style, from an expression to a worked response."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from tgpo.tasks.arithmetic import evaluate

Style = Callable[[str], str]
TERM = re.compile(r"[+-]?\d+")


def running_totals(expression: str, separator: str) -> str:
    r"""`37+85-12` -> `37+85=122;122-12=110;\boxed{110}`, with `;` or another separator."""
    first, *rest = TERM.findall(expression)
    total, working = int(first), ""
    for term in rest:
        new_total = total + int(term)
        working += f"{total}{term}={new_total}{separator}"
        total = new_total
    return working + rf"\boxed{{{total}}}"


def teacher_style(expression: str) -> str:
    return running_totals(expression, ";")


def student_style(expression: str) -> str:
    """The large-gap student's own separator; its rollouts leave the teacher's support at the first one."""
    return running_totals(expression, "*=*")


def mostly_at_once(expression: str) -> str:
    """The answer without working, but for six expressions in a hundred (always the same ones)."""
    if zlib.crc32(expression.encode()) % 100 < 6:
        return teacher_style(expression)
    return rf"\boxed{{{evaluate(expression)}}}"
