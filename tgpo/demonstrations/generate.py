"""Samples demonstrations of a run's problems from the teacher and writes them to a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tgpo.config.request import Request, TeacherRequest
from tgpo.config.sizes import max_demonstrations, training_problems
from tgpo.models.loading import eos_ids, load_model, load_tokenizer, pick_device, resolve
from tgpo.rollout.base import Sampling, decode_responses, in_parts
from tgpo.rollout.hf import HFRollout
from tgpo.seeds import derived_seed
from tgpo.tasks.demonstrations import Tally, write
from tgpo.types.problem import Problem, Rollout


def demonstrate(request: Request, folder: Path, tell: Callable[[str], None]) -> Tally:
    """Writes demonstrations of the run's training problems to `folder`, as many per problem as its objective uses, each
    by the problem's own teacher."""
    options = request.options
    keep, attempts = max(1, max_demonstrations(request)), options.demonstrations.attempts
    writers: dict[str, HFRollout] = {}

    def respond(problems: Sequence[Problem], part: int) -> tuple[Sequence[Rollout], Sequence[str]]:
        seed = derived_seed(options.seed, "demonstrations", part)
        temperature, cap = options.demonstrations.temperature, options.rollout.max_response_length
        sampling = Sampling(keep * attempts, temperature, cap, seed)
        written: dict[str, list[tuple[Rollout, str]]] = {problem.id: [] for problem in problems}
        for teacher in request.teachers:
            own = [problem for problem in problems if request.teacher_of(problem) is teacher]
            if not own:
                continue  # a teacher without problems is never loaded
            which = teacher.options.model_key
            if which not in writers:
                writers[which] = writer(request, teacher)
            for rollouts in in_parts(writers[which], own, sampling, options.eval.rows_at_once):
                texts = decode_responses(writers[which].tokenizer, rollouts)
                for rollout, text in zip(rollouts, texts, strict=True):
                    written[rollout.problem.id].append((rollout, text))
        rows = [row for problem in problems for row in written[problem.id]]
        return [rollout for rollout, _ in rows], [text for _, text in rows]

    problems = training_problems(request, options.train.steps)
    return write(folder, problems, respond, request.task.rewards, keep, recipe(request), tell)


def writer(request: Request, teacher: TeacherRequest) -> HFRollout:
    """Loads a teacher to write with."""
    assert teacher.options.path is not None
    path, train = resolve(teacher.options.path, teacher.options.revision), request.options.train
    tokenizer, device = load_tokenizer(path, date=request.options.student.date), pick_device(train.device)
    model = load_model(path, train.dtype, device, replaced=teacher.options.config)
    return HFRollout(model, tokenizer, eos_ids(model, tokenizer), train.dtype)


def recipe(request: Request) -> dict[str, Any]:
    """Returns everything that the demonstrations depend on besides the problems."""
    options = request.options

    def of_teachers(option: str) -> Any:
        values = {teacher.name: getattr(teacher.options, option) for teacher in request.teachers}
        return values if len(values) > 1 else next(iter(values.values()))

    return {
        "teacher": of_teachers("path"),
        "revision": of_teachers("revision"),
        "config": of_teachers("config"),
        "route": options.teacher.route,
        "dtype": options.train.dtype,
        "task": request.resolved["task"],
        "seed": options.seed,
        "temperature": options.demonstrations.temperature,
        "attempts": options.demonstrations.attempts,
        "keep": max(1, max_demonstrations(request)),
        "max_response_length": options.rollout.max_response_length,
    }
