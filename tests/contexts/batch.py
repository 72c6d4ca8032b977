"""Three problems with two responses each, as the engine describes them to a context."""

from __future__ import annotations

from tgpo.types.problem import Answered, Problem


def problem(name: str, **extra: str) -> Problem:
    return Problem(name, f"what is {name}?", f"answer of {name}", "words", extra=extra)


A = problem("a", solution="way to a", hint="look at a")
B = problem("b", solution="  ", hint="look at b")
C = problem("c", solution="way to c")

BATCH = [
    Answered(A, "a, right", 1.0, 0),
    Answered(A, "a, wrong", 0.0, 0),
    Answered(B, "b, right", 1.0, 1),
    Answered(B, "b, right too", 1.0, 1),
    Answered(C, "c, wrong", 0.0, 2),
    Answered(C, "c, wrong again", 0.0, 2),
]
