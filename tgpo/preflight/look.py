"""What several checks look at, each thing read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from tgpo.config import Request
from tgpo.models import load_config, load_tokenizer
from tgpo.options import StudentOptions, TeacherOptions
from tgpo.types import Problem

LOOKED_AHEAD = 4  # steps whose training problems are looked at
MOST_CHARACTERS = 256  # problems with the most of them, whose tokens are counted: a run may meet many thousands

Role = Literal["student", "teacher"]


class Note(str):
    """What a check found where nothing is wrong, and a person should still know it."""


class Look:
    """A request and what its models' folders say. A check may read what the checks before it found in order."""

    def __init__(self, request: Request) -> None:
        self.request, self.options = request, request.options
        self.folders: dict[Role, Path] = {}  # of the models on this machine, once their files were looked at
        self.shapes: dict[Role, dict[str, tuple[int, ...]]] = {}  # read in the weights' headers
        self.parameters: dict[Role, int] = {}
        self.configs: dict[Role, Any] = {}

    def model(self, role: Role) -> StudentOptions | TeacherOptions:
        return self.options.student if role == "student" else self.options.teacher

    @cached_property
    def tokenizer(self) -> Any:
        student = self.options.student
        return load_tokenizer(student.path, student.revision, student.chat_template)

    @cached_property
    def strings(self) -> list[str | None]:
        """What the ids of the student's tokenizer stand for."""
        return id_strings(self.tokenizer)

    @cached_property
    def teacher_tokenizer(self) -> Any:
        teacher = self.options.teacher
        assert teacher.local_path is not None
        return load_tokenizer(teacher.local_path, teacher.revision)

    def read_config(self, role: Role) -> Any:
        options = self.model(role)
        assert options.path is not None
        self.configs[role] = load_config(options.path, options.revision, options.config)
        return self.configs[role]


def id_strings(tokenizer: Any) -> list[str | None]:
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    return [by_id.get(index) for index in range(max(by_id) + 1)]


def objective_name(request: Request) -> str:
    return request.options.choices.get("objective") or request.resolved["objective"]["_target_"].rsplit(".", 1)[-1]


def most_topk(request: Request, vocabulary: int) -> int:
    """The most of its best tokens that the teacher is asked to name."""
    return min(max(request.objective.teacher_topk, request.options.metrics.topk), vocabulary)


def problems_met(request: Request, steps: int = LOOKED_AHEAD) -> list[Problem]:
    """The training problems of the first steps, or of the whole run where that is shorter."""
    options = request.options
    looked = range(1, min(options.train.steps, steps) + 1)
    return [p for k in looked for p in request.task.train_problems(options.seed, k, options.rollout.prompts_per_batch)]


def most_shown(request: Request) -> int:
    """The most demonstrations that the objective wants of one problem."""
    rollout = request.options.rollout
    return max(request.objective.mix(g, rollout.group_size).demonstrations for g in range(rollout.prompts_per_batch))


@dataclass(frozen=True)
class Written:
    """What the student writes, rollouts or one exam: tokens of the longest prompt, whose it is, and of a response."""

    prompt: int
    problem: str
    cap: int
    capped_by: str  # the option that says so

    @property
    def longest(self) -> int:
        return self.prompt + self.cap


_written: WeakKeyDictionary[Request, list[Written]] = WeakKeyDictionary()


def written(request: Request, tokenizer: Any) -> list[Written]:
    """Rollouts first, which alone the teacher reads; measured once for each request."""
    from tgpo.evaluation.suite import exams

    if request not in _written:
        options = request.options
        trained, cap = problems_met(request, options.train.steps), options.rollout.max_response_length
        _written[request] = [
            Written(*longest_prompt(trained, tokenizer), cap, "rollout.max_response_length"),
            *(
                Written(*longest_prompt(exam.eval_problems(), tokenizer), exam.max_response_length, exam.capped_by)
                for exam in exams(request)
            ),
        ]
    return _written[request]


def longest_prompt(problems: Sequence[Problem], tokenizer: Any) -> tuple[int, str]:
    """Its tokens, and whose it is."""
    from tgpo.rollout.base import encode_prompts

    wordy = sorted(problems, key=lambda p: len(p.system or "") + len(p.prompt))[-MOST_CHARACTERS:]
    return max((len(ids), p.id) for ids, p in zip(encode_prompts(tokenizer, wordy), wordy, strict=True))


def longest_sequence(request: Request, tokenizer: Any) -> int:
    """Tokens of the longest prompt and response that the student writes."""
    return max(each.longest for each in written(request, tokenizer))


def longest_scored(request: Request, tokenizer: Any) -> int:
    """Tokens of the longest prompt and response that the teacher reads."""
    return written(request, tokenizer)[0].longest
