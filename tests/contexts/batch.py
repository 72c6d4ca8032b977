"""Three problems with two responses each, as the engine describes them to a context."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tgpo.contexts.prompts import TeacherPrompts
from tgpo.contexts.solution import Solution
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.panel import Asked, Member, Panel
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


def shown(student: Any, tokenizer: Any, teachers: list[Any]) -> tuple[Asked, list[Panel]]:
    """Responses of a student, all but the first problem's after a prompt with the solution, and a panel of each teacher
    alone."""
    problems = Arithmetic().train_problems(0, 1, 6)
    problems[0] = replace(problems[0], extra={})
    rollouts = HFRollout(student, tokenizer, [1]).generate(problems, Sampling(2, 1.0, 40, 0))
    prompts = TeacherPrompts(Solution(template="{problem} [{context}]"), tokenizer)
    panels = [Panel([Member("only", teacher, prompts)], len(tokenizer), 0) for teacher in teachers]
    asked = panels[0].ask([Answered(r.problem, "", 0.0, r.group) for r in rollouts], pad(rollouts, 0))
    assert asked.taught_B.tolist() == [False] * 2 + [True] * 10
    return asked, panels
