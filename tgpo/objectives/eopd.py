"""Reverse KL to the teacher, and the forward KL as well where the teacher itself is uncertain."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.divergence import topk_forward_kl
from tgpo.objectives.log_ratio import TeacherAdvantage, log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, RowDivergence, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EOPD(TeacherAdvantage):
    r"""`loss_t = PPO(A)_t + 1[H_t > h] KL_k(pi_T || pi_theta)`, `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)`, `H_t`
    the entropy of pi_T(.|s_t).

    `h` is `entropy_threshold` in nats, and `KL_k` the forward KL on the teacher's `topk` best tokens, the teacher
    renormalised on them and the student not (nats per token). `where_uncertain: forward` drops the reverse KL where the
    forward one is, instead of adding the two. Detached: the advantage, the teacher's distribution and its entropy. The
    logged `loss/teacher` is the reverse part, `loss/forward_kl` the forward part.

    Source: EOPD, arXiv 2603.07079 (h = 0.8, k = 16), which adds the forward KL to the reverse one. Deviation: the
    entropy is that of the complete distribution, and so is exact.
    """

    entropy_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.8
    topk: Annotated[int, Field(ge=2)] = 16
    where_uncertain: Literal["both", "forward"] = "both"

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.TEACHER_FULL}

    @property
    def divergence(self) -> RowDivergence | None:
        return partial(forward_kl_where_uncertain, threshold=self.entropy_threshold, topk=self.topk)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT, log_ratio_to_teacher(batch))

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert student.divergence_BT is not None
        forward_BT = student.divergence_BT * batch.teacher_mask_BT
        reverse = super().loss(student, batch, credit)
        reverse_BT = reverse.loss_BT
        if self.where_uncertain == "forward":
            reverse_BT = torch.where(forward_BT.detach() > 0, 0.0, reverse_BT)
        terms = {"teacher": reverse_BT.detach(), "forward_kl": forward_BT.detach()}
        return TokenLoss(reverse_BT + forward_BT, terms, reverse.token_means)


def forward_kl_where_uncertain(student_NV: Tensor, teacher_NV: Tensor, threshold: float, topk: int) -> Tensor:
    """Returns the forward KL on the teacher's best tokens where its entropy is above the threshold, and 0 in the other
    rows, `[N]`."""
    teacher_NV = teacher_NV.detach()
    probability_NV = teacher_NV.exp()
    entropy_N = -torch.xlogy(probability_NV, probability_NV).sum(-1)
    best = teacher_NV.topk(min(topk, teacher_NV.shape[-1]), -1)
    forward_N = topk_forward_kl(student_NV.gather(-1, best.indices), best.values)
    return torch.where(entropy_N > threshold, forward_N, 0.0)
