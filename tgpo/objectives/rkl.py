"""Reverse KL to the teacher on the student's own tokens: on-policy distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional import divergence
from tgpo.objectives.base import PolicyGradient
from tgpo.types import STRICT, Credit, Need, ScoredBatch, StudentScores, TokenLoss

FROM_SAMPLED_TOKEN = {
    "k2_loss": divergence.k2,
    "k3_loss": divergence.k3,
    "score_function": divergence.score_function,
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RKL(PolicyGradient):
    r"""`loss_t = PPO(A)_t`, `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` (nats a token).

    No reward, no normalisation, no discount: its expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || pi_T(.|s_t))`. What a token does to later states is left out: that
    is the published method. The single-sample estimate `log pi_old - log pi_T` (k1) belongs in the advantage; as a
    loss of its own its expected gradient is zero. Detached: the whole advantage.

    `estimator` places the same divergence elsewhere (`rho = pi_theta(a_t) / pi_T(a_t)`):
    - `k1_advantage`: the above
    - `k2_loss`: `1/2 (log rho)^2`, the same expected gradient on-policy
    - `k3_loss`: `1/rho - 1 + log rho`; biased: its expected gradient is that of the FORWARD KL
    - `score_function`: `sg[log rho] log pi_theta`, k1_advantage without clipping
    - `topk_loss`: the reverse KL itself, both sides renormalised on the teacher's `topk` tokens

    Source: Thinking Machines, "On-Policy Distillation" (2025); the RKL baseline of TGPO, arXiv 2605.13230.
    """

    estimator: Literal["k1_advantage", "k2_loss", "k3_loss", "score_function", "topk_loss"] = "k1_advantage"
    topk: Annotated[int, Field(ge=2)] = 20

    needs_groups = False

    @property
    def needs(self) -> frozenset[Need]:
        if self.estimator == "k1_advantage":
            return frozenset({Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED})
        return frozenset({Need.TEACHER_TOPK if self.estimator == "topk_loss" else Need.TEACHER_SAMPLED})

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        if self.estimator != "k1_advantage":
            return Credit(batch.mask_BT)
        assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
        assert batch.old_logprobs_BT is not None
        return Credit(batch.mask_BT, (batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT) * batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        if self.estimator == "k1_advantage":
            return self.surrogate(student, batch, credit, "teacher")
        assert batch.teacher is not None
        if self.estimator == "topk_loss":
            assert student.at_teacher_topk_BTK is not None and batch.teacher.topk_logprobs_BTK is not None
            loss_BT = divergence.topk_reverse_kl(student.at_teacher_topk_BTK, batch.teacher.topk_logprobs_BTK)
        else:
            assert batch.teacher.sampled_logprobs_BT is not None
            estimate = FROM_SAMPLED_TOKEN[self.estimator]
            loss_BT = estimate(student.logprobs_BT, batch.teacher.sampled_logprobs_BT)
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})
