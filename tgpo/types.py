"""What flows between the parts, and the letters that name the axes of every tensor.

    Problem -> Rollout -> ScoredBatch -> Credit -> StudentScores -> TokenLoss -> scalar, metrics

Axes: B sequences, P prompt positions, T response positions, V vocabulary, K top-k entries, H hidden width,
N tokens picked out of a [B,T] grid. Every log-probability is a natural logarithm (nats) of a float32 (or wider)
log-softmax at temperature 1, whatever the sampling temperature was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Literal, NamedTuple, TypeVar

import torch
from pydantic import ConfigDict
from torch import Tensor

# How every class that a yaml configures checks itself: an option it does not have is an error, not a shrug.
STRICT = ConfigDict(extra="forbid")

Source = Literal["student", "teacher"]
FinishReason = Literal["eos", "length"]
Head = Callable[[Tensor], Tensor]  # hidden_NH -> logits_NV
RowDivergence = Callable[[Tensor, Tensor], Tensor]  # student_logprobs_NV, teacher_logprobs_NV -> loss_N


class Need(StrEnum):
    """What an objective reads besides the tokens. The engine computes these and nothing else."""

    REWARD = "reward"
    OLD_LOGPROBS = "old_logprobs"
    OLD_AT_TEACHER_TOPK = "old_at_teacher_topk"  # pi_old at the teacher's best tokens
    TEACHER_SAMPLED = "teacher_sampled"  # pi_T at the tokens themselves
    TEACHER_TOPK = "teacher_topk"  # the teacher's best tokens, and the student there
    TEACHER_SAMPLE = "teacher_sample"  # a token the teacher draws, and the student there
    TEACHER_FULL = "teacher_full"  # the objective's `divergence` of the two whole distributions
    TEACHER_AT_STUDENT_TOPK = "teacher_at_student_topk"  # both at pi_old's best tokens
    DEMONSTRATION = "demonstration"  # responses the teacher wrote


# Answered by the teacher's forward pass: an objective that needs none of these runs without a teacher in the loop.
TEACHER_NEEDS = frozenset(need for need in Need if need.value.startswith("teacher_")) | {Need.OLD_AT_TEACHER_TOPK}


class Reduction(StrEnum):
    """How unreduced token losses become one number; see `tgpo.functional.reduce`."""

    TOKEN = "token"
    SEQUENCE = "sequence"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Problem:
    """One question with a checkable answer. `prompt` is the text of a single user turn, `system` that of a turn before
    it; None leaves the system prompt to the chat template."""

    id: str
    prompt: str
    answer: str
    task: str
    system: str | None = None


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
class TokenBatch:
    """Token ids of B sequences: prompts padded on the left, responses on the right.

    `mask_BT` is 1 up to and including the first EOS; `prompt_mask_BP` is 1 on real prompt tokens.
    """

    prompt_BP: Tensor
    prompt_mask_BP: Tensor
    response_BT: Tensor
    mask_BT: Tensor

    @property
    def length_B(self) -> Tensor:
        """Tokens of each sequence, prompt and response, without padding."""
        return self.prompt_mask_BP.sum(1) + self.mask_BT.sum(1)

    def sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Each prompt's and each response's ids, without padding."""
        grids = (self.prompt_BP, self.prompt_mask_BP, self.response_BT, self.mask_BT)
        rows = zip(*(grid.tolist() for grid in grids), strict=True)
        return [
            (tuple(i for i, m in zip(p, pm, strict=True) if m), tuple(i for i, m in zip(r, rm, strict=True) if m))
            for p, pm, r, rm in rows
        ]

    def select(self, rows: Tensor) -> TokenBatch:
        """Those rows, without the columns that are padding in all of them."""
        prompt_mask_BP, mask_BT = self.prompt_mask_BP[rows], self.mask_BT[rows]
        first = self.prompt_BP.shape[1] - int(prompt_mask_BP.sum(1).max())
        last = int(mask_BT.sum(1).max())
        return TokenBatch(
            self.prompt_BP[rows, first:], prompt_mask_BP[:, first:], self.response_BT[rows, :last], mask_BT[:, :last]
        )

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


class Mix(NamedTuple):
    """How many responses of a group the student samples, and how many are demonstrations."""

    student: int
    demonstrations: int


@dataclass(frozen=True)
class TeacherQuery:
    """What the teacher is asked about the tokens of a batch."""

    sampled: bool = True  # its log-probabilities of the tokens themselves
    topk: int = 0  # its best tokens at each position
    at_ids_BTK: Tensor | None = None  # its log-probabilities of these tokens
    uniform_BT: Tensor | None = None  # a token drawn from it at each position, at temperature 1, by these in [0, 1)
    full: bool = False  # its hidden states and head, from which whole distributions are made a few rows at a time

    def select(self, rows: Tensor, width: int) -> TeacherQuery:
        return select_grids(self, rows, width)


@dataclass(frozen=True)
class TeacherSignal:
    """What the teacher says of the student's tokens, in the student's own states. Never carries gradient.

    `topk_*` are sorted by probability, so the argmax is entry 0 of the last axis. `hidden_BTH` and `head` give the
    distribution at each response token; no one but `policy.py` looks at them.
    """

    sampled_logprobs_BT: Tensor | None = None
    topk_ids_BTK: Tensor | None = None
    topk_logprobs_BTK: Tensor | None = None
    at_student_topk_BTK: Tensor | None = None
    sample_ids_BT: Tensor | None = None
    hidden_BTH: Tensor | None = None
    head: Head | None = None

    def named_ids(self, picked_BT: Tensor) -> Tensor:
        """The tokens the student is scored at, `[N,K+1]` or less: the teacher's best, then the one it drew."""
        best_BTK, drawn_BT = self.topk_ids_BTK, self.sample_ids_BT
        named = [x for x in (best_BTK, None if drawn_BT is None else drawn_BT[..., None]) if x is not None]
        nothing_NK = torch.empty(int(picked_BT.sum()), 0, dtype=torch.long, device=picked_BT.device)
        return torch.cat(named, -1)[picked_BT] if named else nothing_NK

    def narrow(self, needs: frozenset[Need], topk: int) -> TeacherSignal:
        """Only what `needs` names, with `topk` entries: an objective cannot read what it did not declare."""

        def given(need: Need, value: Tensor | None) -> Tensor | None:
            return value if need in needs else None

        ids, best = self.topk_ids_BTK, self.topk_logprobs_BTK
        named = needs & {Need.TEACHER_TOPK, Need.OLD_AT_TEACHER_TOPK}
        return TeacherSignal(
            sampled_logprobs_BT=given(Need.TEACHER_SAMPLED, self.sampled_logprobs_BT),
            topk_ids_BTK=ids[..., :topk] if named and ids is not None else None,
            topk_logprobs_BTK=best[..., :topk] if Need.TEACHER_TOPK in needs and best is not None else None,
            at_student_topk_BTK=given(Need.TEACHER_AT_STUDENT_TOPK, self.at_student_topk_BTK),
            sample_ids_BT=given(Need.TEACHER_SAMPLE, self.sample_ids_BT),
            hidden_BTH=given(Need.TEACHER_FULL, self.hidden_BTH),
            head=self.head if Need.TEACHER_FULL in needs else None,
        )

    def select(self, rows: Tensor, width: int) -> TeacherSignal:
        return select_grids(self, rows, width)

    def to(self, device: torch.device | str) -> TeacherSignal:
        return replace(self, **{name: x.to(device) for name, x in vars(self).items() if isinstance(x, Tensor)})


Grids = TypeVar("Grids", TeacherQuery, TeacherSignal)


def select_grids(grids: Grids, rows: Tensor, width: int) -> Grids:
    """Those rows and the first `width` positions of every tensor."""
    return replace(grids, **{name: x[rows, :width] for name, x in vars(grids).items() if isinstance(x, Tensor)})


@dataclass(frozen=True)
class ScoredBatch:
    """All an objective may know of the rollouts. Whole groups; fields it did not declare are None.

    `off_policy_B` marks demonstrations; old log-probabilities are 0 there. `old_topk_logprobs_BTK` are those of
    pi_old's own best tokens, the ones `teacher.at_student_topk_BTK` is about.
    """

    tokens: TokenBatch
    group_B: Tensor
    off_policy_B: Tensor
    reward_B: Tensor | None = None
    old_logprobs_BT: Tensor | None = None
    importance_BT: Tensor | None = None  # what a policy gradient of a token weighs; None for 1
    old_at_teacher_topk_BTK: Tensor | None = None
    old_topk_logprobs_BTK: Tensor | None = None
    teacher: TeacherSignal | None = None
    max_response_length: int = 0
    eos_ids: tuple[int, ...] = ()

    @property
    def mask_BT(self) -> Tensor:
        return self.tokens.mask_BT

    def select(self, rows: Tensor) -> ScoredBatch:
        """Those rows, trimmed to their longest response."""
        tokens = self.tokens.select(rows)
        width = tokens.response_BT.shape[1]
        per_row = {"group_B": self.group_B, "off_policy_B": self.off_policy_B, "reward_B": self.reward_B}
        per_token = {
            "old_logprobs_BT": self.old_logprobs_BT,
            "importance_BT": self.importance_BT,
            "old_at_teacher_topk_BTK": self.old_at_teacher_topk_BTK,
            "old_topk_logprobs_BTK": self.old_topk_logprobs_BTK,
        }
        return replace(
            self,
            tokens=tokens,
            teacher=None if self.teacher is None else self.teacher.select(rows, width),
            **{name: None if value is None else value[rows] for name, value in per_row.items()},
            **{name: None if value is None else value[rows, :width] for name, value in per_token.items()},
        )


@dataclass(frozen=True)
class Credit:
    """What an objective decides once per rollout batch, on whole groups and without gradient.

    `mask_BT` marks the tokens it trains on: the denominators of the reduction are taken from it, before any
    micro-batch exists. `scalars` are logged as they are.
    """

    mask_BT: Tensor
    advantage_BT: Tensor | None = None
    teacher_weight_BT: Tensor | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)

    def select(self, rows: Tensor, width: int) -> Credit:
        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[rows, :width]

        return Credit(self.mask_BT[rows, :width], pick(self.advantage_BT), pick(self.teacher_weight_BT), self.scalars)


@dataclass(frozen=True)
class StudentScores:
    """The student's side, with gradient (`topk_*`, its own best tokens, without). No [B,T,V] tensor ever reaches an
    objective: `divergence_BT` is what the objective's own `divergence` gave for the two distributions."""

    logprobs_BT: Tensor
    entropy_BT: Tensor
    at_teacher_topk_BTK: Tensor | None = None
    at_teacher_sample_BT: Tensor | None = None
    divergence_BT: Tensor | None = None
    topk_ids_BTK: Tensor | None = None
    topk_logprobs_BTK: Tensor | None = None


@dataclass(frozen=True)
class TokenLoss:
    """An objective's answer: the unreduced loss, and what to log.

    `terms` are detached parts of the loss, reduced exactly as the loss is; `token_means` are detached
    quantities averaged over the trained tokens.
    """

    loss_BT: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    token_means: Mapping[str, Tensor] = field(default_factory=dict)
