"""Group Relative Policy Optimization: reward alone, no teacher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.advantage import group_advantage
from tgpo.functional.policy_gradient import clipped_surrogate
from tgpo.types import STRICT, Credit, Need, Reduction, ScoredBatch, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GRPO:
    r"""`loss_t = PPO(A)_t`, `A = (R - mean_group R) / (std_group R + 1e-6)`.

    `PPO(A)_t = -min(r_t A, clip(r_t, 1-clip_low, 1+clip_high) A)`, `r_t = pi_theta(a_t|s_t) / pi_old(a_t|s_t)`.
    Detached: the advantage and the old log-probabilities. Every token of a rollout has its rollout's advantage.

    Source: DeepSeekMath, arXiv 2402.03300, equation 3. Deviations: no reference-model KL term; the default reduction
    is over the tokens of the update (DAPO, arXiv 2503.14476) where the paper averages over sequences first
    (`reduction: sequence`).
    """

    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    normalize_std: bool = True
    reduction: Reduction = Reduction.TOKEN

    needs_groups = True
    topk = 0

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REWARD, Need.OLD_LOGPROBS})

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        assert batch.reward_B is not None
        advantage_B = group_advantage(batch.reward_B, batch.group_B, normalize_std=self.normalize_std)
        return Credit(batch.mask_BT, advantage_B[:, None] * batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        surrogate = clipped_surrogate(
            student.logprobs_BT, batch.old_logprobs_BT, credit.advantage_BT, self.clip_low, self.clip_high
        )
        return TokenLoss(
            surrogate.loss_BT,
            terms={"policy_gradient": surrogate.loss_BT.detach()},
            token_means={"policy/clip_fraction": surrogate.clipped_BT},
        )
