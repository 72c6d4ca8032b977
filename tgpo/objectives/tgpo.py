"""Teacher-Guided Policy Optimization: GRPO plus the likelihood of the teacher's own next token."""

from __future__ import annotations

from dataclasses import replace
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

    `reward: false` drops the GRPO term, which leaves cross-entropy on the teacher's tokens in the student's states.
    The logged `loss/teacher` is the cross-entropy before its weight (nats a token).

    Source: TGPO, arXiv 2605.13230; paper defaults w_1 = 2e-3, d = 1e-5, w_min = 0.
    """

    weight: tuple[Weight, Weight, Weight] = (2e-3, 1e-5, 0.0)
    reward: bool = True

    topk = 1

    @property
    def needs(self) -> frozenset[Need]:
        return (super().needs if self.reward else frozenset()) | {Need.TEACHER_TOPK}

    @property
    def needs_groups(self) -> bool:
        return self.reward

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        weight = linear_decay(step, *self.weight)
        policy = super().credit(batch, step) if self.reward else Credit(batch.mask_BT)
        return replace(policy, teacher_weight_BT=weight * batch.mask_BT, scalars={"loss/teacher_weight": weight})

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert student.at_teacher_topk_BTK is not None and credit.teacher_weight_BT is not None
        teacher_BT = -student.at_teacher_topk_BTK[..., 0]
        guidance_BT, terms = credit.teacher_weight_BT * teacher_BT, {"teacher": teacher_BT.detach()}
        if not self.reward:
            return TokenLoss(guidance_BT, terms)
        policy = super().loss(student, batch, credit)
        return TokenLoss(policy.loss_BT + guidance_BT, {**policy.terms, **terms}, policy.token_means)
