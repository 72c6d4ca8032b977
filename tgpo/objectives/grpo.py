"""Group Relative Policy Optimization: reward alone, no teacher."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from tgpo.functional.advantage import group_advantage
from tgpo.objectives.base import PolicyGradient
from tgpo.types import STRICT, Credit, Need, ScoredBatch, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GRPO(PolicyGradient):
    r"""`loss_t = PPO(A)_t`, `A = (R - mean_group R) / (std_group R + 1e-6)`.

    Every token of a rollout has its rollout's advantage. Detached: the advantage and the old log-probabilities.

    Source: DeepSeekMath, arXiv 2402.03300, equation 3. Deviations: no reference-model KL term; the default reduction
    is over the tokens of the update (DAPO, arXiv 2503.14476) where the paper averages over sequences first
    (`reduction: sequence`). `normalize_std: false` leaves the rewards centred only (Dr. GRPO, arXiv 2503.20783).
    """

    normalize_std: bool = True

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
        return self.surrogate(student, batch, credit, "policy_gradient")
