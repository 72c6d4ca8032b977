"""Reverse KL on the student's own tokens, as an advantage: on-policy distillation."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from tgpo.objectives.base import PolicyGradient
from tgpo.types import STRICT, Credit, Need, ScoredBatch, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RKL(PolicyGradient):
    r"""`loss_t = PPO(A)_t`, `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` (nats a token).

    No reward, no normalisation, no discount: its expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || pi_T(.|s_t))`. What a token does to later states is left out: that
    is the published method. The single-sample estimate `log pi_old - log pi_T` (k1) belongs in the advantage; as a
    loss of its own its expected gradient is zero. Detached: the whole advantage.

    Source: Thinking Machines, "On-Policy Distillation" (2025); the RKL baseline of TGPO, arXiv 2605.13230.
    """

    needs_groups = False
    topk = 0

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED})

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
        assert batch.old_logprobs_BT is not None
        return Credit(batch.mask_BT, (batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT) * batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        return self.surrogate(student, batch, credit, "teacher")
