"""RLSD: the reward gives the direction of the update, a teacher with privileged text its size at each token."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.functional.schedule import linear_decay
from tgpo.objectives.base import LinearWeight
from tgpo.objectives.grpo import GRPO
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RLSD(GRPO):
    r"""`loss_t = PPO(A'_t)`, `A'_t = A ((1 - l_k) + l_k e_t)`.

    `e_t = clip((pi_T(a_t) / pi_old(a_t))^sign(A), 1 - ratio_clip, 1 + ratio_clip)`.

    `A` is `grpo`'s advantage, the same at all tokens of a rollout. Where the rollout is right, the tokens that the
    teacher finds likelier than the student count for more, and where it is wrong for less. `e_t` is positive, so no
    token's sign changes, and there is no gradient where all rollouts of a group have the same reward. The teacher
    therefore cannot pass on what it has read: it says how much a token matters, not which token to write.
    `l_k = max(w_1 - (k-1) d, w_min)`; `weight` is `[w_1, d, w_min]`. Detached: the whole advantage. A token that the
    teacher has not scored has `e_t = 1`.

    Source: RLSD, arXiv 2604.03128. The paper's text was not at hand. The formula and the defaults (l from 0.5 to 0 in
    50 steps, clip 0.2) are those on which its public reimplementations agree, such as ms-swift's `rlsd_lambda` and
    `rlsd_reweight_clip_range`. Assumed: the ratio is to pi_old, not to pi_theta, so that updates of one batch share it.
    """

    weight: LinearWeight = (0.5, 0.01, 0.0)
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _weight_is_a_share(self) -> RLSD:
        if max(self.weight[0], self.weight[2]) > 1:
            raise ValueError(f"weight={list(self.weight)}: w_1 and w_min are shares of the advantage, at most 1")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.TEACHER_SAMPLED}

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        policy, weight = super().credit(batch, step), linear_decay(step, *self.weight)
        assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
        assert batch.old_logprobs_BT is not None and policy.advantage_BT is not None
        log_ratio_BT = batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT
        evidence_BT = torch.exp(policy.advantage_BT.sign() * log_ratio_BT)
        evidence_BT = evidence_BT.clamp(1 - self.ratio_clip, 1 + self.ratio_clip)
        evidence_BT = torch.where(batch.teacher_mask_BT > 0, evidence_BT, 1.0)
        advantage_BT = policy.advantage_BT * ((1 - weight) + weight * evidence_BT)
        return replace(policy, advantage_BT=advantage_BT, scalars={"loss/teacher_weight": weight})
