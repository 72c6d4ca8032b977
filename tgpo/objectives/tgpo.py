"""Teacher-Guided Policy Optimization: GRPO plus the likelihood of the teacher's own next token."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.divergence import topk_forward_kl
from tgpo.functional.schedule import linear_decay
from tgpo.objectives.base import LinearWeight
from tgpo.objectives.grpo import GRPO
from tgpo.types import STRICT, Credit, Need, ScoredBatch, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TGPO(GRPO):
    r"""`loss_t = PPO(A)_t + w_k * (-log pi_theta(y*_t | s_t))`, `y*_t = argmax_v pi_T(v | s_t)`.

    The teacher is asked at EVERY position of the student's own rollout what it would have written there, and the
    student is taught that token, right rollout or wrong. `w_k = max(w_1 - (k-1) d, w_min)` falls linearly with the
    step k; `weight` is `[w_1, d, w_min]`. Detached: the advantage, the old log-probabilities, the teacher's choice.

    `target: topk` teaches the teacher's `topk` best tokens instead of the first: the forward KL on them, the teacher
    renormalised, the student not.
    `reward: false` drops the GRPO term, which leaves cross-entropy on the teacher's tokens in the student's states.
    The logged `loss/teacher` is the guidance before its weight (nats a token).

    Source: TGPO, arXiv 2605.13230; paper defaults w_1 = 2e-3, d = 1e-5, w_min = 0.
    """

    weight: LinearWeight = (2e-3, 1e-5, 0.0)
    target: Literal["argmax", "topk"] = "argmax"
    topk: Annotated[int, Field(ge=1)] = 1
    reward: bool = True

    @model_validator(mode="after")
    def _topk_fits_its_target(self) -> TGPO:
        if (self.topk > 1) != (self.target == "topk"):
            raise ValueError("topk is 1 for target: argmax, and 2 or more for target: topk")
        return self

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
        teacher_BT = self._guidance(student.at_teacher_topk_BTK, batch)
        guidance_BT, terms = credit.teacher_weight_BT * teacher_BT, {"teacher": teacher_BT.detach()}
        if not self.reward:
            return TokenLoss(guidance_BT, terms)
        policy = super().loss(student, batch, credit)
        return TokenLoss(policy.loss_BT + guidance_BT, {**policy.terms, **terms}, policy.token_means)

    def _guidance(self, at_teacher_topk_BTK: Tensor, batch: ScoredBatch) -> Tensor:
        if self.target == "argmax":
            return -at_teacher_topk_BTK[..., 0]
        assert batch.teacher is not None and batch.teacher.topk_logprobs_BTK is not None
        return topk_forward_kl(at_teacher_topk_BTK, batch.teacher.topk_logprobs_BTK)
