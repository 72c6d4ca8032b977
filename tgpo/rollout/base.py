"""What a rollout engine is: Problem -> Rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tgpo.seeds import derived_seed
from tgpo.types.problem import Problem, Rollout


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


def in_parts(
    engine: RolloutEngine, problems: Sequence[Problem], sampling: Sampling, rows_at_once: int
) -> Iterator[list[Rollout]]:
    """About `rows_at_once` responses, or one problem's, at a time; each part has draws of its own."""
    at_once = max(1, rows_at_once // sampling.samples_per_problem)
    for first in range(0, len(problems), at_once):
        drawn = replace(sampling, seed=derived_seed(sampling.seed, "rows", first))
        yield engine.generate(problems[first : first + at_once], drawn)
