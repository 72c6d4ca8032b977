"""TGPO's reward-shaping variant: the student's probability of the teacher's token as a bonus in the advantage."""

from __future__ import annotations

from dataclasses import replace

from pydantic.dataclasses import dataclass

from tgpo.functional.schedule import linear_decay
from tgpo.objectives.base import LinearWeight
from tgpo.objectives.grpo import GRPO
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TGPOAdvantage(GRPO):
    r"""`loss_t = PPO(A + w_k * sg[pi_old(y*_t | s_t)])`, `y*_t = argmax_v pi_T(v | s_t)`.

    `w_k = max(w_1 - (k-1) d, w_min)`; `weight` is `[w_1, d, w_min]`. Detached: the whole advantage. The bonus is the
    same whichever token was sampled, so `E_{a ~ pi}[bonus * grad log pi(a)] = 0`: apart from clipping, and from a
    reduction that divides by lengths (see `constant_bonus`), it adds variance and no signal. Implemented as published;
    `constant_bonus` is the control that tests this.

    Source: TGPO, arXiv 2605.13230; paper defaults w_1 = 2e-2, d = 1e-4.
    """

    weight: LinearWeight = (2e-2, 1e-4, 0.0)

    teacher_topk = 1

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.OLD_AT_TEACHER_TOPK}

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        policy, weight = super().credit(batch, step), linear_decay(step, *self.weight)
        return replace(
            policy, teacher_weight_BT=weight * batch.teacher_mask_BT, scalars={"loss/teacher_weight": weight}
        )

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert credit.advantage_BT is not None and credit.teacher_weight_BT is not None
        assert batch.old_at_teacher_topk_BTK is not None
        bonus_BT = credit.teacher_weight_BT * batch.old_at_teacher_topk_BTK[..., 0].exp()
        return super().loss(student, batch, replace(credit, advantage_BT=credit.advantage_BT + bonus_BT))
