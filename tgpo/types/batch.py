"""Token ids of many sequences as tensors, and everything that an objective may read about them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from tgpo.types.teacher import TeacherSignal


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
        """The number of tokens of each sequence, prompt and response, without padding."""
        return self.prompt_mask_BP.sum(1) + self.mask_BT.sum(1)

    def sequences(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Returns the ids of each prompt and its response, without padding."""
        grids = (self.prompt_BP, self.prompt_mask_BP, self.response_BT, self.mask_BT)
        rows = zip(*(grid.tolist() for grid in grids), strict=True)
        return [
            (tuple(i for i, m in zip(p, pm, strict=True) if m), tuple(i for i, m in zip(r, rm, strict=True) if m))
            for p, pm, r, rm in rows
        ]

    def select(self, rows: Tensor) -> TokenBatch:
        """Returns these rows, without the columns that are padding in all of them."""
        prompt_mask_BP, mask_BT = self.prompt_mask_BP[rows], self.mask_BT[rows]
        first = self.prompt_BP.shape[1] - int(prompt_mask_BP.sum(1).max())
        last = int(mask_BT.sum(1).max())
        return TokenBatch(
            self.prompt_BP[rows, first:], prompt_mask_BP[:, first:], self.response_BT[rows, :last], mask_BT[:, :last]
        )

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class ScoredBatch:
    """Everything that an objective may read about the rollouts; fields that it did not declare in `needs` are None.

    It holds complete groups. `off_policy_B` marks demonstrations; old log-probabilities are 0 there.
    `old_topk_logprobs_BTK` are those of pi_old's own best tokens, the same tokens as in `teacher.at_student_topk_BTK`.
    `taught_B` marks the responses that the teacher has scored, where it has not scored all: for some there may be no
    privileged text that `teacher.context` could show it. Of the others the teacher's scores are 0 and mean nothing: an
    objective multiplies its teacher's term by `teacher_mask_BT`.
    """

    tokens: TokenBatch
    group_B: Tensor
    off_policy_B: Tensor
    reward_B: Tensor | None = None
    old_logprobs_BT: Tensor | None = None
    reference_logprobs_BT: Tensor | None = None
    importance_BT: Tensor | None = None  # weight of a token's policy gradient; None for 1
    old_at_teacher_topk_BTK: Tensor | None = None
    old_topk_logprobs_BTK: Tensor | None = None
    teacher: TeacherSignal | None = None
    taught_B: Tensor | None = None  # None for all
    max_response_length: int = 0
    eos_ids: tuple[int, ...] = ()

    @property
    def mask_BT(self) -> Tensor:
        return self.tokens.mask_BT

    @property
    def teacher_mask_BT(self) -> Tensor:
        """1 on the tokens that the teacher has scored: `mask_BT` without the responses that `taught_B` leaves out."""
        return self.mask_BT if self.taught_B is None else self.mask_BT * self.taught_B[:, None]

    def select(self, rows: Tensor) -> ScoredBatch:
        """Returns these rows, trimmed to their longest response."""
        tokens = self.tokens.select(rows)
        width = tokens.response_BT.shape[1]
        per_row = {
            "group_B": self.group_B,
            "off_policy_B": self.off_policy_B,
            "reward_B": self.reward_B,
            "taught_B": self.taught_B,
        }
        per_token = {
            "old_logprobs_BT": self.old_logprobs_BT,
            "reference_logprobs_BT": self.reference_logprobs_BT,
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
