"""Countdown (TinyZero): reach a target with given numbers. A response is judged by evaluating its expression."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from tgpo.tasks.answer import last_boxed, tidy
from tgpo.tasks.answers import AnswerForm, after_thinking, question
from tgpo.tasks.base import Rewards
from tgpo.tasks.cells import CellError, plain_text, structure
from tgpo.tasks.dataset import DatasetTask
from tgpo.types.problem import Problem

LONGEST = 200  # characters of an expression: four numbers take some twenty
INTEGER = re.compile(r"\s*-?\d{1,12}\s*")
IN_TEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|[×⋅]"), "*"),
    (re.compile(r"\\div(?![A-Za-z])|[÷:]"), "/"),
    (re.compile(r"\\(?:left|right|,|;|!| )|[$\s]"), ""),
)
OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Countdown(DatasetTask):
    """Rows with a target (`answer_column`) and numbers (`numbers_column`).

    A response is right if the expression in its last box uses each number exactly once, with + - * / and parentheses,
    and its exact value is the target; what follows an equals sign is not read. Source: TinyZero's countdown task.
    """

    prompt_column: str = ""  # with the rows' own prompts; empty for `prompt_template`
    answer_column: str = "target"
    numbers_column: str = "nums"

    @field_validator("prompt_template")
    @classmethod
    def _has_placeholder(cls, template: str) -> str:
        return template  # checked with the rows: {problem}, or {numbers} and {target}

    @property
    def columns(self) -> dict[str, str]:
        own = {"prompt_column": self.prompt_column} if self.prompt_column else {}
        return own | {
            "answer_column": self.answer_column,
            "numbers_column": self.numbers_column,
            **self.further_columns,
        }

    def question_of(self, row: dict[str, Any], form: AnswerForm) -> tuple[str | None, str | None, str | None]:
        target = one_integer(row["answer_column"], "answer_column")
        numbers = integers(row["numbers_column"], "numbers_column")
        if target is None or not numbers:
            return None, None, None
        prompt, system = question(row["prompt_column"]) if self.prompt_column else ("", None)
        if prompt is None:
            return None, None, None
        values = {"{problem}": prompt, "{target}": str(target), "{numbers}": ", ".join(map(str, numbers))}
        text = re.sub("|".join(values), lambda found: values[found[0]], self.prompt_template)
        return text, system, gold(target, numbers)

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        texts = [after_thinking(r) for r in responses] if self.require_think_end else responses
        return Rewards([float(reaches(p.answer, text)) for p, text in zip(problems, texts, strict=True)])


def gold(target: int, numbers: Sequence[int]) -> str:
    """Returns target and numbers as the gold answer of a problem, such as `98 from 44, 19, 35`."""
    return f"{target} from {', '.join(map(str, numbers))}"


def reaches(answer: str, response: str) -> bool:
    """Returns whether the expression in the last box of a response is a solution of the gold answer."""
    target, _, numbers = answer.partition(" from ")
    boxed = last_boxed(response)
    if boxed is None or len(boxed) > LONGEST:
        return False
    try:
        value, used = evaluated(expression(boxed))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return value == int(target) and sorted(used) == sorted(map(int, numbers.split(", ")))


def expression(boxed: str) -> str:
    """Returns the left side of what is in a box, with TeX's operators and fractions as plain ones."""
    text = tidy(boxed).partition("=")[0]
    for pattern, plain in IN_TEX:
        text = pattern.sub(plain, text)
    return text


def evaluated(text: str) -> tuple[Fraction, list[int]]:
    """Returns the exact value of an expression and the numbers in it; raises ValueError for anything but arithmetic."""
    used: list[int] = []

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        raise ValueError("not arithmetic")

    return value(ast.parse(text, mode="eval").body), used


def integers(cell: Any, option: str) -> list[int]:
    """Returns the numbers of a cell, a list or its text; empty if there are none."""
    if isinstance(cell, str):
        listed = re.fullmatch(r"\s*[\[(]?([-\d,\s]*)[\])]?\s*", cell)
        cell = structure(cell) or (re.findall(r"-?\d+", listed[1]) if listed else cell)
    if cell is None:
        return []
    if not isinstance(cell, (list, tuple)):
        raise CellError(option, "no list of numbers", fix="give a column of lists of integers")
    found = [one_integer(part, option) for part in cell]
    return [] if None in found else [number for number in found if number is not None]


def one_integer(cell: Any, option: str) -> int | None:
    if isinstance(cell, (list, tuple)) and len(cell) == 1:
        cell = cell[0]
    text = plain_text(cell, option)
    if text is None or not text.strip():
        return None
    if not INTEGER.fullmatch(text):
        raise CellError(option, f"{text[:40]!r}, not an integer", fix="give a column of integers")
    return int(text)
