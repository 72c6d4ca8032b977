"""Reverse KL to the teacher on the student's own tokens: on-policy distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor

from tgpo.functional import divergence
from tgpo.objectives.base import PolicyGradient, apply_importance_weights, fill_defaults
from tgpo.objectives.log_ratio import log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss

IN_THE_ADVANTAGE = frozenset({"k1_advantage", "centered"})
FROM_SAMPLED_TOKEN = {
    "k2_loss": divergence.k2,
    "k3_loss": divergence.k3,
    "score_function": divergence.score_function,
}
TOPK = {"topk_loss": 20, "centered": 1024}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RKL(PolicyGradient):
    r"""`loss_t = PPO(A)_t`, `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` (nats per token).

    No reward, no normalisation, no discount: its expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || pi_T(.|s_t))`. A token's effect on later states is ignored, as in the
    published method. The single-sample estimate `log pi_old - log pi_T` (k1) belongs in the advantage; used as a loss,
    its expected gradient is zero. Detached: the whole advantage.

    `estimator` selects how the same divergence enters the loss (`rho = pi_theta(a_t) / pi_T(a_t)`):
    - `k1_advantage`: as above
    - `k2_loss`: `1/2 (log rho)^2`, the same expected gradient on-policy
    - `k3_loss`: `1/rho - 1 + log rho`; biased: its expected gradient is that of the FORWARD KL
    - `score_function`: `sg[log rho] log pi_theta`; in the first update of a batch the same gradient as k1_advantage;
      later updates use the current policy in the log-ratio, with neither importance ratio nor clip
    - `topk_loss`: the reverse KL itself, both sides renormalised on the teacher's `topk` tokens
    - `centered`: `PPO(A)`, `A_t = R(a_t) - sum_v pi_old(v) R(v)`, `R(v) = log pi_T(v) - log pi_old(v)`, v over the
      `topk` best tokens of pi_old: the k1 advantage minus (nearly) its mean in that state. The same expected gradient;
      its variance is not always lower (docs/objectives.md), and it costs one more forward pass of the student. It is
      the control variate of vOPD, arXiv 2605.07865

    Source: Thinking Machines, "On-Policy Distillation" (2025); the RKL baseline of TGPO, arXiv 2605.13230.
    """

    estimator: Literal["k1_advantage", "k2_loss", "k3_loss", "score_function", "topk_loss", "centered"] = "k1_advantage"
    topk: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _topk_of_the_estimator(cls, given: ArgsKwargs) -> ArgsKwargs:
        return fill_defaults(given, {"topk": TOPK.get((given.kwargs or {}).get("estimator", ""), 0)})

    @model_validator(mode="after")
    def _topk_fits_its_estimator(self) -> RKL:
        if self.estimator == "topk_loss" and self.topk < 2:
            raise ValueError(f"topk={self.topk}: topk_loss renormalises over the topk tokens; with one it is always 0")
        if self.estimator == "centered" and self.topk < 1:
            raise ValueError("topk=0: centered needs the tokens it takes the mean over; use 1 or more")
        if self.estimator not in TOPK and self.topk:
            raise ValueError(f"topk={self.topk}: read by the estimators {' and '.join(TOPK)}, not by {self.estimator}")
        if self.estimator not in IN_THE_ADVANTAGE:
            self.refuse_unread({"clip_low": 0.2, "clip_high": 0.2}, f"{self.estimator} has no ratio to clip")
        return self

    @property
    def teacher_topk(self) -> int:
        return self.topk if self.estimator == "topk_loss" else 0

    @property
    def student_topk(self) -> int:
        return self.topk if self.estimator == "centered" else 0

    @property
    def needs(self) -> frozenset[Need]:
        if self.estimator == "topk_loss":
            return frozenset({Need.TEACHER_TOPK})
        policy_needs = {Need.OLD_LOGPROBS} if self.estimator in IN_THE_ADVANTAGE else set()
        topk_needs = {Need.TEACHER_AT_STUDENT_TOPK} if self.estimator == "centered" else set()
        return frozenset({Need.TEACHER_SAMPLED} | policy_needs | topk_needs)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        if self.estimator not in IN_THE_ADVANTAGE:
            return Credit(batch.mask_BT)
        advantage_BT = log_ratio_to_teacher(batch)
        if self.estimator == "centered":
            advantage_BT = (advantage_BT - self._mean_of_the_state(batch)) * batch.teacher_mask_BT
        return Credit(batch.mask_BT, advantage_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        if self.estimator in IN_THE_ADVANTAGE:
            return self.surrogate(student, batch, credit, "teacher")
        assert batch.teacher is not None
        if self.estimator == "topk_loss":
            assert student.at_teacher_topk_BTK is not None and batch.teacher.topk_logprobs_BTK is not None
            loss_BT = divergence.topk_reverse_kl(student.at_teacher_topk_BTK, batch.teacher.topk_logprobs_BTK)
        else:
            assert batch.teacher.sampled_logprobs_BT is not None
            estimate = FROM_SAMPLED_TOKEN[self.estimator]
            loss_BT = apply_importance_weights(estimate(student.logprobs_BT, batch.teacher.sampled_logprobs_BT), batch)
        loss_BT = loss_BT * batch.teacher_mask_BT
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})

    def _mean_of_the_state(self, batch: ScoredBatch) -> Tensor:
        assert batch.teacher is not None and batch.teacher.at_student_topk_BTK is not None
        assert batch.old_topk_logprobs_BTK is not None
        old_BTK = batch.old_topk_logprobs_BTK
        return (old_BTK.exp() * (batch.teacher.at_student_topk_BTK - old_BTK)).sum(-1)
