"""Problems and responses, and what an objective may need. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import ConfigDict

# The pydantic configuration of every class that a yaml configures: an unknown option is an error.
STRICT = ConfigDict(extra="forbid")

Source = Literal["student", "teacher"]
FinishReason = Literal["eos", "length"]


class Need(StrEnum):
    """What an objective reads besides the tokens. The collector computes only the needs that are declared."""

    REWARD = "reward"
    OLD_LOGPROBS = "old_logprobs"
    OLD_AT_TEACHER_TOPK = "old_at_teacher_topk"  # pi_old at the teacher's best tokens
    TEACHER_SAMPLED = "teacher_sampled"  # pi_T at the tokens themselves
    TEACHER_TOPK = "teacher_topk"  # the teacher's best tokens, and the student's scores there
    TEACHER_SAMPLE = "teacher_sample"  # a token drawn from the teacher, and the student's score there
    TEACHER_FULL = "teacher_full"  # the objective's `divergence` of the two complete distributions
    TEACHER_AT_STUDENT_TOPK = "teacher_at_student_topk"  # the teacher and pi_old at pi_old's best tokens
    STUDENT_AT_OLD_TOPK = "student_at_old_topk"  # the student, with gradient, at pi_old's best tokens
    REFERENCE_SAMPLED = "reference_sampled"  # the student as it was before training, at the tokens themselves
    DEMONSTRATION = "demonstration"  # responses the teacher wrote


# Needs that take a forward pass of the teacher: an objective with none of these trains without a teacher in the loop.
TEACHER_NEEDS = frozenset(need for need in Need if need.value.startswith("teacher_")) | {Need.OLD_AT_TEACHER_TOPK}


class Reduction(StrEnum):
    """How unreduced token losses become one number; see `tgpo.functional.reduce`."""

    TOKEN = "token"
    SEQUENCE = "sequence"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Problem:
    """One question with a checkable answer. `prompt` is the text of a single user turn, `system` that of a system turn
    before it, where None leaves the system prompt to the chat template. `extra` holds further texts of the row by name,
    such as `solution` and `hint`, for `teacher.context` and `teacher.route`; the student never reads them."""

    id: str
    prompt: str
    answer: str
    task: str
    system: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Rollout:
    """One response. `response_ids` ends with EOS when `finish_reason` is `eos`.

    `logprobs` are the sampler's log-probabilities of `response_ids` (nats), None when the response was not
    sampled from the policy (`source == "teacher"`).
    """

    problem: Problem
    group: int
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    source: Source
    finish_reason: FinishReason
    policy_version: int


@dataclass(frozen=True)
class Answered:
    """A response as text, without the token that ended it, and what is known of it before the teacher is asked."""

    problem: Problem
    response: str
    reward: float
    group: int


class GroupComposition(NamedTuple):
    """How many responses of a group the student samples, and how many are demonstrations."""

    student: int
    demonstrations: int

    @classmethod
    def with_demonstrations(cls, size: int, demonstrations: int) -> GroupComposition:
        """Returns a group of `size` responses of which so many, at most all, are demonstrations."""
        return cls(max(size - demonstrations, 0), min(size, demonstrations))
