"""LUFFY: demonstrations in every group, weighted by their advantage over the student's own rollouts."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.advantage import group_advantage
from tgpo.functional.policy_gradient import shaped_probability
from tgpo.objectives.base import ObjectiveDefaults, apply_importance_weights
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LUFFY(ObjectiveDefaults):
    r"""Rollouts: `loss_t = -A r_t`; demonstrations y: `loss_t = -A f(pi_theta(y_t|s_t))`, `f(p) = p / (p + gamma)`.

    `r_t = pi_theta(a_t|s_t) / pi_old(a_t|s_t)`, not clipped. `A = R - mean_group R` over the rollouts AND the
    `demonstrations` of the prompt (7 and 1 of a group of 8), so a demonstration has advantage 0 once all rollouts are
    right. The demonstrations' importance ratio has the denominator 1, not the teacher's probability, and f is steepest
    where the student's probability of the token is low: biased towards rare tokens by design. Detached: the advantage
    and the old log-probabilities.

    Source: LUFFY, arXiv 2504.14945, sections 3.2 (mixed-policy GRPO) and 3.3 (policy shaping, gamma = 0.1); as in the
    paper, without the standard deviation and with a constant reduction. The option `normalize_std` is this project's.
    """

    demonstrations: Annotated[int, Field(ge=1)] = 1
    gamma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    normalize_std: bool = False
    reduction: Reduction = Reduction.CONSTANT

    needs_groups = True

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REWARD, Need.OLD_LOGPROBS, Need.DEMONSTRATION})

    def mix(self, group: int, size: int) -> GroupComposition:
        return GroupComposition.with_demonstrations(size, self.demonstrations)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        assert batch.reward_B is not None
        advantage_B = group_advantage(batch.reward_B, batch.group_B, normalize_std=self.normalize_std)
        return Credit(batch.mask_BT, advantage_B[:, None] * batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        # demonstrations have old log-probability 0, so that their ratio is finite; torch.where does not select it
        ratio_BT = torch.exp(student.logprobs_BT - batch.old_logprobs_BT)
        shaped_BT = shaped_probability(student.logprobs_BT, self.gamma)
        demonstrated_B1 = batch.off_policy_B[:, None]
        loss_BT = -apply_importance_weights(credit.advantage_BT, batch) * torch.where(
            demonstrated_B1, shaped_BT, ratio_BT
        )
        return TokenLoss(
            loss_BT,
            terms={
                "policy_gradient": loss_BT.detach().masked_fill(demonstrated_B1, 0.0),
                "teacher": loss_BT.detach().masked_fill(~demonstrated_B1, 0.0),
            },
        )
