"""What an objective assigns (`Credit`), reads from the student (`StudentScores`) and returns (`TokenLoss`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

RowDivergence = Callable[[Tensor, Tensor], Tensor]  # student_logprobs_NV, teacher_logprobs_NV -> loss_N


@dataclass(frozen=True)
class Credit:
    """What an objective computes once per rollout batch, on complete groups and without gradient.

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
    """The student's scores, with gradient (except `topk_*`, its own best tokens). No [B,T,V] tensor ever reaches an
    objective: `divergence_BT` is the value of the objective's own `divergence` for the two distributions."""

    logprobs_BT: Tensor
    entropy_BT: Tensor
    at_teacher_topk_BTK: Tensor | None = None
    at_teacher_sample_BT: Tensor | None = None
    at_old_topk_BTK: Tensor | None = None
    divergence_BT: Tensor | None = None
    topk_ids_BTK: Tensor | None = None
    topk_logprobs_BTK: Tensor | None = None


@dataclass(frozen=True)
class TokenLoss:
    """An objective's result: the unreduced loss, and what to log.

    `terms` are detached parts of the loss, reduced exactly as the loss is; `token_means` are detached
    quantities averaged over the trained tokens.
    """

    loss_BT: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    token_means: Mapping[str, Tensor] = field(default_factory=dict)
