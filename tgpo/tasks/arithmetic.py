"""Sums of a few two-digit numbers, such as `37+85-12`: the task of the benchmark that ships with the package."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.tasks.base import Rewards
from tgpo.tasks.verifier import verify_responses
from tgpo.types.problem import STRICT, Problem

HELD_OUT_BUCKETS, BUCKETS = 1, 10
TERM = re.compile(r"[+-]?\d+")


def is_held_out(expression: str) -> bool:
    """Returns whether an expression belongs to evaluation.

    This depends on its text alone, so training never sees a held-out expression.
    """
    return zlib.crc32(expression.encode()) % BUCKETS < HELD_OUT_BUCKETS


def expressions(
    rng: random.Random, terms: Sequence[int], *, held_out: bool, minus: float | None = None
) -> Iterator[str]:
    """Yields random expressions from one side of the split, endlessly, the number of terms uniform over `terms`.

    Each sign is drawn; with `minus`, all of an expression's are the same, and this share of them are minus.
    """
    while True:
        count = rng.choice(terms)
        numbers = [str(rng.randint(10, 99)) for _ in range(count)]
        signs = "+-" if minus is None else "-" if rng.random() < minus else "+"
        expression = numbers[0] + "".join(rng.choice(signs) + number for number in numbers[1:])
        if is_held_out(expression) == held_out:
            yield expression


def evaluate(expression: str) -> int:
    """Returns the value of an expression such as `37+85-12`, without `eval`."""
    total, sign, digits = 0, 1, ""
    for character in expression + "+":
        if character in "+-":
            total += sign * int(digits)
            sign, digits = (1 if character == "+" else -1), ""
        else:
            digits += character
    return total


def running_totals(expression: str) -> Iterator[tuple[int, str, int]]:
    """Yields the steps from the first term to the value: the total so far, the term that joins it, the new total."""
    first, *rest = TERM.findall(expression)
    total = int(first)
    for term in rest:
        yield total, term, total + int(term)
        total += int(term)


def solution(expression: str, separator: str = ";") -> str:
    r"""`37+85-12` -> `37+85=122;122-12=110;\boxed{110}`, with `;` or another separator."""
    working = "".join(f"{total}{term}={after}{separator}" for total, term, after in running_totals(expression))
    return working + rf"\boxed{{{evaluate(expression)}}}"


def hint(expression: str) -> str:
    """`37+85-12` -> `122,110`: the totals without the working."""
    return ",".join(str(after) for _, _, after in running_totals(expression))


def operation(expression: str) -> str:
    signs = {character for character in expression if character in "+-"}
    return "both" if len(signs) == 2 else "minus" if "-" in signs else "plus"


def to_problem(expression: str) -> Problem:
    return Problem(
        id=f"arithmetic/{expression}",
        prompt=expression,
        answer=str(evaluate(expression)),
        task="arithmetic",
        extra={"solution": solution(expression), "hint": hint(expression), "operation": operation(expression)},
    )


@dataclass(frozen=True, config=STRICT)
class Arithmetic:
    """Training problems have `min_terms` to `max_terms` numbers; evaluation has a fixed number of each kind.

    With `minus` each sum has one kind of sign: this share of the training sums have minus, half of the held-out ones.
    """

    min_terms: Annotated[int, Field(ge=2)] = 2
    max_terms: Annotated[int, Field(le=8)] = 4
    eval_two_terms: Annotated[int, Field(ge=0, le=1_000)] = 64  # out of 1,639 held-out ones
    eval_more_terms: Annotated[int, Field(ge=0)] = 128
    eval_seed: int = 0
    minus: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Arithmetic:
        if self.min_terms > self.max_terms:
            raise ValueError(f"min_terms ({self.min_terms}) is above max_terms ({self.max_terms})")
        if self.eval_two_terms + self.eval_more_terms == 0:
            raise ValueError("eval_two_terms and eval_more_terms are both 0: nothing to evaluate on")
        return self

    @property
    def name(self) -> str:
        return "arithmetic"

    def train_problems(self, seed: int, step: int, count: int) -> list[Problem]:
        rng, terms = random.Random(f"train/{seed}/{step}"), range(self.min_terms, self.max_terms + 1)
        stream = expressions(rng, terms, held_out=False, minus=self.minus)
        return [to_problem(next(stream)) for _ in range(count)]

    def eval_problems(self) -> list[Problem]:
        rng = random.Random(f"eval/{self.eval_seed}")
        chosen: dict[str, None] = {}  # used as an ordered set, so that no problem occurs twice
        for size, terms in ((self.eval_two_terms, [2]), (self.eval_more_terms, [3, 4])):
            goal = len(chosen) + size
            stream = expressions(rng, terms, held_out=True, minus=None if self.minus is None else 0.5)
            while len(chosen) < goal:
                chosen[next(stream)] = None
        return [to_problem(expression) for expression in chosen]

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return verify_responses([problem.answer for problem in problems], responses)
