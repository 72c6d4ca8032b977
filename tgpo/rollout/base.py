"""What a rollout engine is: Problem -> Rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tgpo.types import Problem, Rollout


@dataclass(frozen=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; `seed` alone decides the draws.

    `out_of`: sample i of a problem has the draws it would have among this many; None for `samples_per_problem`.
    `first_problem`: the problems given are those from here on out of `of_problems` (None: all there are), and have the
    draws they would have among them.
    """

    samples_per_problem: int
    temperature: float
    max_response_length: int
    seed: int
    out_of: int | None = None
    first_problem: int = 0
    of_problems: int | None = None


class RolloutEngine(Protocol):
    """Responses to problems from the policy's current weights.

    Rollouts come back problem by problem, `samples_per_problem` in a row, `group` being the problem's index. The
    log-probabilities they carry are those of the model at temperature 1, whatever the sampling temperature.
    """

    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]: ...

    def sync(self, policy_version: int) -> None:
        """Called after every policy update, before the next rollouts."""
        ...


def encode_prompts(tokenizer, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """Token ids of each problem as one user turn, after its system turn if any, ready for the model to answer."""
    turns = [
        [
            *([] if problem.system is None else [{"role": "system", "content": problem.system}]),
            {"role": "user", "content": problem.prompt},
        ]
        for problem in problems
    ]
    return [
        tuple(ids)
        for ids in tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False, tokenize=True)
    ]
