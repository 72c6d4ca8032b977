"""What the objectives that compare complete distributions share: whose states, and one divergence in each of them."""

from __future__ import annotations

import math

from pydantic.dataclasses import dataclass

from tgpo.objectives.base import ObjectiveDefaults, Share
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WholeDistribution(ObjectiveDefaults):
    """`loss_t` is the `divergence` of the two distributions over the whole vocabulary, which each objective defines.

    `on_policy_fraction` of the responses are sampled from the student, the rest are demonstrations. States carry no
    gradient. Detached: the teacher.
    """

    on_policy_fraction: Share = 1.0
    reduction: Reduction = Reduction.TOKEN

    @property
    def needs(self) -> frozenset[Need]:
        demonstrations = {Need.DEMONSTRATION} if self.on_policy_fraction < 1 else set()
        return frozenset({Need.TEACHER_FULL} | demonstrations)

    def mix(self, group: int, size: int) -> GroupComposition:
        def on_policy(groups: int) -> int:  # of all responses of the first `groups` groups; 0.7 x 10 must not be 6
            return math.floor(groups * size * self.on_policy_fraction + 1e-9)

        student = on_policy(group + 1) - on_policy(group)
        return GroupComposition(student, size - student)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert student.divergence_BT is not None
        loss_BT = student.divergence_BT * batch.teacher_mask_BT
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})
