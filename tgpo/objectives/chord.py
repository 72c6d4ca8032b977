"""CHORD: GRPO on the student's rollouts and imitation of demonstrations, with an annealed weight between the two."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.advantage import group_advantage
from tgpo.functional.schedule import warmup_then_cosine
from tgpo.objectives.base import Share
from tgpo.objectives.grpo import GRPO
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CHORD(GRPO):
    r"""`(1 - mu_k) GRPO + mu_k SFT`, where a demonstration's token has the loss `-sg[p (1 - p)] log p`,
    `p = pi_theta(y_t|s_t)`.

    Each of the two is reduced by itself: GRPO over the student's rollouts and the imitation over the demonstrations, so
    that mu_k is the share of the imitation however many demonstrations there are. The advantage compares the student's
    rollouts with one another alone; a demonstration is not one of the group. `mu_k` rises to `mu_peak` in
    `mu_warmup_steps`, then falls to `mu_valley` by a cosine in `mu_decay_steps`. The factor p (1 - p) leaves out what
    the student does anyway and what it would never do; `phi: false` is plain imitation. Nats per token.

    Detached: the advantage, the old log-probabilities, the factor p (1 - p). The logged `loss/policy_gradient` and
    `loss/teacher` are the two parts as they add up, with their weights.

    Source: CHORD, arXiv 2508.11408, and its code (Trinity-RFT), whose default is a constant mu of 0.1 with the factor.
    Deviations: demonstrations come with the rollouts of the same problems, `demonstrations` of them a group, where the
    code draws them from a dataset of its own; they are the teacher's correct responses.
    """

    demonstrations: Annotated[int, Field(ge=1)] = 1
    mu_peak: Share = 0.1
    mu_valley: Share = 0.1
    mu_warmup_steps: Annotated[int, Field(ge=0)] = 0
    mu_decay_steps: Annotated[int, Field(ge=0)] = 0
    phi: bool = True

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.DEMONSTRATION}

    def mix(self, group: int, size: int) -> GroupComposition:
        return GroupComposition.with_demonstrations(size, self.demonstrations)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        assert batch.reward_B is not None
        mu = warmup_then_cosine(step, self.mu_peak, self.mu_valley, self.mu_warmup_steps, self.mu_decay_steps)
        own_B = ~batch.off_policy_B
        advantage_B = torch.zeros_like(batch.reward_B)
        advantage_B[own_B] = group_advantage(
            batch.reward_B[own_B], batch.group_B[own_B], normalize_std=self.normalize_std
        )
        parts = ((own_B, 1 - mu), (batch.off_policy_B, mu))
        weight_BT = sum(
            (share * self._by_itself(rows_B, batch) * rows_B[:, None] for rows_B, share in parts),
            torch.zeros_like(batch.mask_BT),
        )
        return Credit(batch.mask_BT, advantage_B[:, None] * batch.mask_BT, weight_BT, {"loss/teacher_weight": mu})

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert credit.teacher_weight_BT is not None
        demonstrated_B1, weight_BT = batch.off_policy_B[:, None], credit.teacher_weight_BT
        policy = super().loss(student, batch, credit)
        probability_BT = student.logprobs_BT.detach().exp()
        factor_BT = probability_BT * (1 - probability_BT) if self.phi else torch.ones_like(probability_BT)
        imitation_BT = -factor_BT * student.logprobs_BT
        loss_BT = weight_BT * torch.where(demonstrated_B1, imitation_BT, policy.loss_BT)
        terms = {name: (weight_BT * term).masked_fill(demonstrated_B1, 0.0) for name, term in policy.terms.items()}
        terms["teacher"] = (weight_BT * imitation_BT).detach().masked_fill(~demonstrated_B1, 0.0)
        return TokenLoss(loss_BT, terms, policy.token_means)

    def _by_itself(self, rows_B: Tensor, batch: ScoredBatch) -> Tensor:
        """Returns what a part's loss is multiplied by, so that the reduction of the whole batch is the part's own."""
        if self.reduction == Reduction.TOKEN:
            whole, part = batch.mask_BT.sum(), batch.mask_BT[rows_B].sum()
        else:
            written_B = (batch.mask_BT.sum(1) > 0).to(batch.mask_BT.dtype)
            whole, part = written_B.sum(), written_B[rows_B].sum()
        return whole / part.clamp(min=1)  # without such rows nothing is multiplied
