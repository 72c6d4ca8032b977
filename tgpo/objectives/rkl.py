"""Reverse KL on the student's own tokens, as an advantage: on-policy distillation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.policy_gradient import clipped_surrogate
from tgpo.types import STRICT, Credit, Need, Reduction, ScoredBatch, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RKL:
    r"""`loss_t = PPO(A)_t`, `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` (nats a token).

    No reward, no normalisation, no discount: its expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || pi_T(.|s_t))`. What a token does to later states is left out: that
    is the published method. The single-sample estimate `log pi_old - log pi_T` (k1) belongs in the advantage; as a
    loss of its own its expected gradient is zero. Detached: the whole advantage.

    Source: Thinking Machines, "On-Policy Distillation" (2025); the RKL baseline of TGPO, arXiv 2605.13230.
    """

    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    reduction: Reduction = Reduction.TOKEN

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
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        surrogate = clipped_surrogate(
            student.logprobs_BT, batch.old_logprobs_BT, credit.advantage_BT, self.clip_low, self.clip_high
        )
        return TokenLoss(
            surrogate.loss_BT,
            terms={"teacher": surrogate.loss_BT.detach()},
            token_means={"policy/clip_fraction": surrogate.clipped_BT},
        )
