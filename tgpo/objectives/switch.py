"""Distil first, reinforce after: one of two losses at a time, and never their sum."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.objectives.grpo import GRPO
from tgpo.objectives.log_ratio import log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Switch(GRPO):
    r"""`PPO(log pi_T(a_t|s_t) - log pi_old(a_t|s_t))` up to step `last_distilled`, then `PPO(A)`, A the group's
    advantage.

    The first is `rkl`, the second `grpo`, each to the last digit; `loss/teacher_weight` is 1 and then 0. The teacher is
    asked in both, for the metrics' sake and because what an objective needs does not depend on the step; and the clip
    is the same. Detached: both advantages.

    Source: arXiv 2609.04108, which finds on logic puzzles that 60 steps of distillation followed by reinforcement
    learning do better than every joint objective it tries.
    """

    last_distilled: Annotated[int, Field(ge=0)] = 60

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | ({Need.TEACHER_SAMPLED} if self.last_distilled else set())

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        if step > self.last_distilled:
            policy = super().credit(batch, step)
            return Credit(policy.mask_BT, policy.advantage_BT, None, {"loss/teacher_weight": 0.0})
        return Credit(batch.mask_BT, log_ratio_to_teacher(batch), None, {"loss/teacher_weight": 1.0})

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        if credit.scalars["loss/teacher_weight"]:
            return self.surrogate(student, batch, credit, "teacher")
        return super().loss(student, batch, credit)
