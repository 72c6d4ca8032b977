"""Samples demonstrations of a run's problems from the teacher and writes them to a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tgpo.config.request import Request
from tgpo.config.sizes import max_demonstrations, training_problems
from tgpo.models.loading import eos_ids, load_model, load_tokenizer, pick_device, resolve
from tgpo.rollout.base import Sampling, decode_responses, in_parts
from tgpo.rollout.hf import HFRollout
from tgpo.seeds import derived_seed
from tgpo.tasks.demonstrations import Tally, write
from tgpo.types.problem import Problem, Rollout


def demonstrate(request: Request, folder: Path, tell: Callable[[str], None]) -> Tally:
    """Writes demonstrations of the run's training problems to `folder`, as many per problem as its objective uses."""
    options = request.options
    assert options.teacher.path is not None
    keep, attempts = max(1, max_demonstrations(request)), options.demonstrations.attempts
    path = resolve(options.teacher.path, options.teacher.revision)
    tokenizer, device = load_tokenizer(path, date=options.student.date), pick_device(options.train.device)
    model = load_model(path, options.train.dtype, device, replaced=options.teacher.config)
    sampler = HFRollout(model, tokenizer, eos_ids(model, tokenizer), options.train.dtype)

    def respond(problems: Sequence[Problem], part: int) -> tuple[Sequence[Rollout], Sequence[str]]:
        seed = derived_seed(options.seed, "demonstrations", part)
        temperature, cap = options.demonstrations.temperature, options.rollout.max_response_length
        sampling = Sampling(keep * attempts, temperature, cap, seed)
        rollouts = [
            rollout for part in in_parts(sampler, problems, sampling, options.eval.rows_at_once) for rollout in part
        ]
        return rollouts, decode_responses(tokenizer, rollouts)

    problems = training_problems(request, options.train.steps)
    return write(folder, problems, respond, request.task.rewards, keep, recipe(request), tell)


def recipe(request: Request) -> dict[str, Any]:
    """Returns everything that the demonstrations depend on besides the problems."""
    options = request.options
    return {
        "teacher": options.teacher.path,
        "revision": options.teacher.revision,
        "config": options.teacher.config,
        "dtype": options.train.dtype,
        "task": request.resolved["task"],
        "seed": options.seed,
        "temperature": options.demonstrations.temperature,
        "attempts": options.demonstrations.attempts,
        "keep": max(1, max_demonstrations(request)),
        "max_response_length": options.rollout.max_response_length,
    }
