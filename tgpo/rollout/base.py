"""The interface of a rollout engine: Problem -> Rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tgpo.errors import RequestError, first_line
from tgpo.seeds import derived_seed
from tgpo.types.problem import Problem, Rollout


@dataclass(frozen=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; the random numbers depend on `seed` alone.

    `out_of`: sample i of a problem gets the random numbers that it would get among this many samples; None means
    `samples_per_problem`. `first_problem`: the given problems are the part of `of_problems` problems (None: all are
    given) that starts at this index, and get the random numbers that they would get among all of those.
    """

    samples_per_problem: int
    temperature: float
    max_response_length: int
    seed: int
    out_of: int | None = None
    first_problem: int = 0
    of_problems: int | None = None


class RolloutEngine(Protocol):
    """Generates responses to problems with the policy's current weights.

    Rollouts are returned problem by problem, `samples_per_problem` in a row; `group` is the problem's index. Their
    log-probabilities are those of the model at temperature 1, whatever the sampling temperature.
    """

    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]: ...

    def sync(self, policy_version: int) -> None:
        """Called after every policy update, before the next rollouts."""
        ...


def encode_prompts(tokenizer, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """Returns the token ids of each problem as one user turn, after its system turn if any, with the start of the
    model's turn. Raises RequestError if the chat template cannot render a problem."""
    prompts = render(tokenizer, problems, tokenize=True, return_dict=False)
    return [tuple(ids) for ids in prompts]


def render(tokenizer, problems: Sequence[Problem], **options: Any) -> list[Any]:
    """Returns each problem's prompt as the chat template renders it; `options` are those of `apply_chat_template`."""
    try:
        return tokenizer.apply_chat_template([*map(turns, problems)], add_generation_prompt=True, **options)
    except Exception as error:  # a template can raise any error, and not only jinja2's
        for problem in problems if len(problems) > 1 else ():
            render(tokenizer, [problem], **options)  # raises for the first problem that is not rendered
        fix = template_fix(problems[0].system is not None)
        raise RequestError(
            f"the chat template does not render the problem {problems[0].id} ({first_line(error)}); {fix}"
        ) from error


def template_fix(system: bool, option: str = "student.chat_template") -> str:
    """Returns what to do about a chat template, as the end of a message; `system`: a system prompt may be the cause."""
    other = f"give another template with {option}"
    return f"drop the system prompt (system_prompt='' in the same section), or {other}" if system else other


def turns(problem: Problem) -> list[dict[str, str]]:
    """Returns the conversation that asks for a response to the problem."""
    system = [] if problem.system is None else [{"role": "system", "content": problem.system}]
    return [*system, {"role": "user", "content": problem.prompt}]


def decode_responses(tokenizer, rollouts: Sequence[Rollout]) -> list[str]:
    """Returns each response as text, without the token that ended it.

    Other special tokens stay: a reward may look for one, such as `</think>`, which some tokenizers list as special.
    """
    ids = [r.response_ids[: len(r.response_ids) - (r.finish_reason == "eos")] for r in rollouts]
    return tokenizer.batch_decode(ids, skip_special_tokens=False)


def in_parts(
    engine: RolloutEngine, problems: Sequence[Problem], sampling: Sampling, rows_at_once: int
) -> Iterator[list[Rollout]]:
    """Yields the rollouts in parts of about `rows_at_once` responses, at least one problem's; each part has its own
    seed."""
    at_once = max(1, rows_at_once // sampling.samples_per_problem)
    for first in range(0, len(problems), at_once):
        part = replace(sampling, seed=derived_seed(sampling.seed, "rows", first))
        yield engine.generate(problems[first : first + at_once], part)
