"""Computes sizes from a request and its tokenizer: lengths, numbers of problems, entries of a top-k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from tgpo.config.eval_sets import eval_sets
from tgpo.config.request import Request, TeacherRequest
from tgpo.contexts.prompts import TeacherPrompts, load_prompts
from tgpo.rollout.base import encode_prompts
from tgpo.types.problem import Problem

LOOKED_AHEAD = 4  # steps whose training problems are checked
MOST_CHARACTERS = 256  # only this many problems, those with the most characters, are tokenized: there may be thousands


def objective_name(request: Request) -> str:
    return request.options.choices.get("objective") or request.resolved["objective"]["_target_"].rsplit(".", 1)[-1]


def context_name(context: Any) -> str:
    """Returns the name of what a teacher reads besides the problem: that of the context's file."""
    return type(context).__module__.rsplit(".", 1)[-1]


def max_teacher_topk(request: Request, vocabulary: int) -> int:
    """Returns the largest number of top tokens that the teacher is queried for."""
    return min(max(request.objective.teacher_topk, request.options.metrics.topk), vocabulary)


def training_problems(request: Request, steps: int = LOOKED_AHEAD) -> list[Problem]:
    """Returns the training problems of the first `steps` steps, or of the complete run if that is shorter."""
    options = request.options
    checked = range(1, min(options.train.steps, steps) + 1)
    return [p for k in checked for p in request.task.train_problems(options.seed, k, options.rollout.prompts_per_batch)]


def max_demonstrations(request: Request) -> int:
    """Returns the largest number of demonstrations that the objective uses for one problem."""
    rollout = request.options.rollout
    return max(request.objective.mix(g, rollout.group_size).demonstrations for g in range(rollout.prompts_per_batch))


@dataclass(frozen=True)
class SequenceBudget:
    """The lengths, in tokens, of what the student writes in rollouts or in one evaluation set.

    They are the longest prompt, with the id of its problem, and the cap on a response.
    """

    prompt: int
    problem: str
    cap: int
    capped_by: str  # the option that sets it
    quoted: int = 0  # responses as long as the cap that the prompt contains

    @property
    def longest(self) -> int:
        return self.prompt + self.cap

    def fitting(self, room: int) -> int:
        """Returns the largest cap with which the longest sequence has at most `room` tokens; below 1 if none does."""
        return (room - self.prompt + self.quoted * self.cap) // (1 + self.quoted)


_budgets: WeakKeyDictionary[Request, list[SequenceBudget]] = WeakKeyDictionary()


def sequence_budgets(request: Request, tokenizer: Any) -> list[SequenceBudget]:
    """Returns the budgets of the rollouts, which are all that the teacher reads, and of each evaluation set. They are
    computed once for each request."""
    if request not in _budgets:
        options = request.options
        training, cap = training_problems(request, options.train.steps), options.rollout.max_response_length
        _budgets[request] = [
            SequenceBudget(*longest_prompt(training, tokenizer), cap, "rollout.max_response_length"),
            *(
                SequenceBudget(
                    *longest_prompt(each.eval_problems(), tokenizer), each.max_response_length, each.capped_by
                )
                for each in eval_sets(request)
            ),
        ]
    return _budgets[request]


def longest_prompt(problems: Sequence[Problem], tokenizer: Any) -> tuple[int, str]:
    """Returns the number of tokens of the longest prompt, and the id of its problem."""
    longest = sorted(problems, key=lambda p: len(p.system or "") + len(p.prompt))[-MOST_CHARACTERS:]
    return max((len(ids), p.id) for ids, p in zip(encode_prompts(tokenizer, longest), longest, strict=True))


def longest_sequence(request: Request, tokenizer: Any) -> int:
    """Returns the tokens of the longest prompt and response that the student writes."""
    return max(each.longest for each in sequence_budgets(request, tokenizer))


_scored: WeakKeyDictionary[TeacherRequest, SequenceBudget] = WeakKeyDictionary()


def scored_budget(request: Request, teacher: TeacherRequest, tokenizer: Any) -> SequenceBudget:
    """Returns the budget of what a teacher reads: the longest prompt of its own, and a response of the student's. It
    is computed once for each teacher of a request."""
    if teacher not in _scored:
        _scored[teacher] = teacher_budget(request, teacher, tokenizer)
    return _scored[teacher]


def teacher_budget(request: Request, teacher: TeacherRequest, tokenizer: Any) -> SequenceBudget:
    budget = sequence_budgets(request, tokenizer)[0]
    prompts = load_prompts(request.options.student, teacher.options, teacher.context, tokenizer, None)
    if prompts is None:
        return budget
    turns = possible_turns(request, teacher, prompts, request.options.train.steps)
    if not turns:  # the preflight says so
        return budget
    length, problem = longest_prompt(turns, prompts.tokenizer)
    quoted = int(prompts.context.quotes_a_response)
    return replace(budget, prompt=length + quoted * budget.cap, problem=problem, quoted=quoted)


def possible_turns(
    request: Request, teacher: TeacherRequest, prompts: TeacherPrompts, steps: int = LOOKED_AHEAD
) -> list[Problem]:
    """Returns what a teacher may read in the first `steps` steps, for the problems that are its own."""
    turns = prompts.possible(training_problems(request, steps), request.options.rollout.prompts_per_batch)
    return [turn for turn in turns if request.teacher_of(turn) is teacher]
