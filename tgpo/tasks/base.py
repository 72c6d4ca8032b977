"""What a task is: where problems come from, and what a response to one is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tgpo.types.problem import Problem


@dataclass(frozen=True)
class Rewards:
    """`values[i]` in {0, 1}; `timeouts` counts verdicts the verifier gave up on (each is a reward of 0)."""

    values: list[float]
    timeouts: int = 0


class Questions(Protocol):
    """The side of a task that evaluation sees; a benchmark has no other."""

    @property
    def name(self) -> str: ...

    def eval_problems(self) -> list[Problem]: ...

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards: ...


class Task(Questions, Protocol):
    """A source of training problems, a fixed set of held-out ones, and the reward.

    `train_problems` is a pure function of its arguments: a resumed run needs no position to be restored, and two
    objectives with the same seed see the same problems in the same order.
    """

    def train_problems(self, seed: int, step: int, count: int) -> list[Problem]: ...
