"""The evaluation sets of a request's `eval` group: the task's own held-out problems, public benchmarks, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tgpo.config.request import Request
from tgpo.errors import RequestError
from tgpo.rollout.base import Sampling
from tgpo.tasks.base import Questions, Rewards
from tgpo.tasks.source import NotFetchedError
from tgpo.types.problem import Problem

AS_TRAINED = "task"  # eval.system_prompt: use the system prompt of the task's own problems


@dataclass(frozen=True)
class EvalSet:
    """Held-out problems and how they are sampled. The system prompt of `like`, if given, replaces the problems' own."""

    questions: Questions
    samples: int
    temperature: float
    max_response_length: int
    capped_by: str  # the option that sets max_response_length
    like: Problem | None = None  # a problem of the task, for AS_TRAINED

    @property
    def name(self) -> str:
        return self.questions.name

    def eval_problems(self) -> list[Problem]:
        problems = self.questions.eval_problems()
        return problems if self.like is None else [replace(p, system=self.like.system) for p in problems]

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return self.questions.rewards(problems, responses)

    def sampling(self, seed: int) -> Sampling:
        return Sampling(self.samples, self.temperature, self.max_response_length, seed)


def eval_sets(request: Request) -> list[EvalSet]:
    """Returns the evaluation sets in the order of the configuration, the task's own problems first."""
    options, sets, shared = request.options.eval, list[EvalSet](), "eval.max_response_length"
    if options.held_out:
        cap = options.max_response_length
        sets.append(EvalSet(request.task, options.samples_per_problem, options.temperature, cap, shared))
    for benchmark in request.benchmarks:
        like = None
        if benchmark.system_prompt == AS_TRAINED:
            like = request.task.train_problems(request.options.seed, 1, 1)[0]
        cap = benchmark.max_response_length
        capped_by = shared if cap == options.max_response_length else f"{benchmark.section}.max_response_length"
        sets.append(EvalSet(benchmark, benchmark.samples, benchmark.temperature, cap, capped_by, like))
    return sets


def all_eval_problems(request: Request) -> list[Problem]:
    """Returns every problem that the request evaluates on; raises RequestError that names all datasets to fetch."""
    problems, missing = list[Problem](), list[NotFetchedError]()
    for exam in eval_sets(request):
        try:
            problems += exam.eval_problems()
        except NotFetchedError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        commands = " && ".join(error.fetch for error in missing)
        raise RequestError(f"{len(missing)} datasets are not in the local cache; fetch them with: {commands}")
    return problems
