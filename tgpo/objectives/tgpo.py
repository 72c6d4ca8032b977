"""Teacher-Guided Policy Optimization: GRPO plus the likelihood of the teacher's own next token."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.schedule import linear_decay
from tgpo.objectives.grpo import GRPO
from tgpo.types import STRICT, Credit, Need, ScoredBatch, StudentScores, TokenLoss

Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TGPO(GRPO):
    r"""`loss_t = PPO(A)_t + w_k * (-log pi_theta(y*_t | s_t))`, `y*_t = argmax_v pi_T(v | s_t)`.

    The teacher is asked at EVERY position of the student's own rollout what it would have written there, and the
    student is taught that token, right rollout or wrong. `w_k = max(w_1 - (k-1) d, w_min)` falls linearly with the
    step k; `weight` is `[w_1, d, w_min]`. Detached: the advantage, the old log-probabilities, the teacher's choice.

    `reward=False` drops the GRPO term, which leaves cross-entropy on the teacher's tokens in the student's states.

    Source: TGPO, arXiv 2605.13230; paper defaults w_1 = 2e-3, d = 1e-5, w_min = 0.
    """

    weight: tuple[Weight, Weight, Weight] = (2e-3, 1e-5, 0.0)
    reward: bool = True

    topk = 1

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.TEACHER_TOPK}

    @property
    def needs_groups(self) -> bool:
        return self.reward

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        weight = linear_decay(step, *self.weight)
        policy = super().credit(batch, step)
        assert policy.advantage_BT is not None
        return Credit(
            batch.mask_BT,
            policy.advantage_BT if self.reward else policy.advantage_BT * 0,
            weight * batch.mask_BT,
            {"loss/teacher_weight": weight},
        )

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert student.at_teacher_topk_BTK is not None and credit.teacher_weight_BT is not None
        policy = super().loss(student, batch, credit)
        teacher_BT = -student.at_teacher_topk_BTK[..., 0]
        return TokenLoss(
            policy.loss_BT + credit.teacher_weight_BT * teacher_BT,
            {**policy.terms, "teacher": teacher_BT.detach()},
            policy.token_means,
        )
