"""The interface of a task: a source of problems, and rewards for responses to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tgpo.types.problem import Problem


@dataclass(frozen=True)
class Rewards:
    """`values[i]` is 0 or 1; `timeouts` counts the responses that the verifier gave up on (each has reward 0)."""

    values: list[float]
    timeouts: int = 0


class Questions(Protocol):
    """The part of a task that evaluation uses. A benchmark has only this part."""

    @property
    def name(self) -> str: ...

    def eval_problems(self) -> list[Problem]: ...

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards: ...


class Task(Questions, Protocol):
    """A source of training problems, a fixed set of held-out ones, and the reward.

    `train_problems` is a pure function of its arguments, so a resumed run has no position to restore, and two
    objectives with the same seed see the same problems in the same order.
    """

    def train_problems(self, seed: int, step: int, count: int) -> list[Problem]: ...
