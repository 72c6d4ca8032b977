"""Prompts with a privileged text in brackets behind the expression, such as `37+85-12 [122,110]`.

A student that makes use of such a text can teach itself: shown the text, it is a better teacher than it is a student.
The text is the problem's own, or now and then another problem's, so that copying blindly does not pay.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tgpo.tasks.arithmetic import Arithmetic, evaluate, hint, solution
from tgpo.tasks.base import Rewards
from tgpo.tiny.solutions import teacher_style, wrong_at_minus
from tgpo.types.problem import Problem

TEXTS: dict[str, Callable[[str], str]] = {
    "hint": hint,
    "solution": solution,
    "answer": lambda expression: str(evaluate(expression)),
}
Ask = Callable[[list[str]], list[str]]  # expressions -> the prompts that ask for them


def plainly(expressions: list[str]) -> list[str]:
    return expressions


def with_text(expression: str, text: str) -> str:
    return f"{expression} [{text}]"


def mixture(plain: float, own: float, others: float, seed: str) -> Ask:
    """Returns a function that shows a random text to some of the expressions, drawn anew for every batch.

    The arguments are the shares of the expressions without a text, with one of their own, and with one of the
    expression before them in the batch, which is no more held out than they are.
    """
    rng = random.Random(seed)

    def ask(expressions: list[str]) -> list[str]:
        prompts = []
        for expression, before in zip(expressions, [expressions[-1], *expressions], strict=False):
            text = TEXTS[rng.choice(list(TEXTS))]
            written = [expression, with_text(expression, text(expression)), with_text(expression, text(before))]
            prompts += rng.choices(written, (plain, own, others))
        return prompts

    return ask


def right_where_shown(prompt: str) -> str:
    """Right after a text of the sum's own; alone, or after another sum's text, wrong wherever there is a minus."""
    expression, _, text = prompt.partition(" [")
    own = {make(expression) for make in TEXTS.values()}
    return teacher_style(expression) if text.removesuffix("]") in own else wrong_at_minus(expression)


@dataclass(frozen=True)
class Shown:
    """The held-out problems, each with a text behind it: its own, or that of the problem after it."""

    text: str
    own: bool = True
    name: str = "arithmetic"

    def eval_problems(self) -> list[Problem]:
        problems, text = Arithmetic().eval_problems(), TEXTS[self.text]
        sources = problems if self.own else [*problems[1:], problems[0]]
        return [
            replace(problem, prompt=with_text(problem.prompt, text(source.prompt)))
            for problem, source in zip(problems, sources, strict=True)
        ]

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return Arithmetic().rewards(problems, responses)
