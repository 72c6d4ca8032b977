"""How large a request's parts are, told from the request and its tokenizer: lengths, problems, entries of a top-k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from tgpo.config.eval_sets import eval_sets
from tgpo.config.request import Request
from tgpo.rollout.base import encode_prompts
from tgpo.types.problem import Problem

LOOKED_AHEAD = 4  # steps whose training problems are looked at
MOST_CHARACTERS = 256  # problems with the most of them, whose tokens are counted: a run may meet many thousands


def objective_name(request: Request) -> str:
    return request.options.choices.get("objective") or request.resolved["objective"]["_target_"].rsplit(".", 1)[-1]


def max_teacher_topk(request: Request, vocabulary: int) -> int:
    """The most of its best tokens that the teacher is asked to name."""
    return min(max(request.objective.teacher_topk, request.options.metrics.topk), vocabulary)


def training_problems(request: Request, steps: int = LOOKED_AHEAD) -> list[Problem]:
    """The training problems of the first steps, or of the whole run where that is shorter."""
    options = request.options
    looked = range(1, min(options.train.steps, steps) + 1)
    return [p for k in looked for p in request.task.train_problems(options.seed, k, options.rollout.prompts_per_batch)]


def max_demonstrations(request: Request) -> int:
    """The most demonstrations that the objective wants of one problem."""
    rollout = request.options.rollout
    return max(request.objective.mix(g, rollout.group_size).demonstrations for g in range(rollout.prompts_per_batch))


@dataclass(frozen=True)
class SequenceBudget:
    """What the student writes, rollouts or one exam: tokens of the longest prompt, whose it is, and of a response."""

    prompt: int
    problem: str
    cap: int
    capped_by: str  # the option that says so

    @property
    def longest(self) -> int:
        return self.prompt + self.cap


_written: WeakKeyDictionary[Request, list[SequenceBudget]] = WeakKeyDictionary()


def sequence_budgets(request: Request, tokenizer: Any) -> list[SequenceBudget]:
    """Rollouts first, which alone the teacher reads; measured once for each request."""
    if request not in _written:
        options = request.options
        trained, cap = training_problems(request, options.train.steps), options.rollout.max_response_length
        _written[request] = [
            SequenceBudget(*longest_prompt(trained, tokenizer), cap, "rollout.max_response_length"),
            *(
                SequenceBudget(
                    *longest_prompt(exam.eval_problems(), tokenizer), exam.max_response_length, exam.capped_by
                )
                for exam in eval_sets(request)
            ),
        ]
    return _written[request]


def longest_prompt(problems: Sequence[Problem], tokenizer: Any) -> tuple[int, str]:
    """Its tokens, and whose it is."""
    wordy = sorted(problems, key=lambda p: len(p.system or "") + len(p.prompt))[-MOST_CHARACTERS:]
    return max((len(ids), p.id) for ids, p in zip(encode_prompts(tokenizer, wordy), wordy, strict=True))


def longest_sequence(request: Request, tokenizer: Any) -> int:
    """Tokens of the longest prompt and response that the student writes."""
    return max(each.longest for each in sequence_budgets(request, tokenizer))


def longest_scored(request: Request, tokenizer: Any) -> int:
    """Tokens of the longest prompt and response that the teacher reads."""
    return sequence_budgets(request, tokenizer)[0].longest
