"""Generalized Knowledge Distillation: a generalized Jensen-Shannon divergence on student and teacher data."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.divergence import generalized_jsd
from tgpo.objectives.base import ObjectiveDefaults
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, RowDivergence, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GKD(ObjectiveDefaults):
    r"""`loss_t = beta KL(T || M) + (1 - beta) KL(S || M)`, `M = (1 - beta) S + beta T`, over the whole vocabulary.

    Nats per token. `beta` 0 is `KL(T || S)`, 1 is `KL(S || T)`, as TRL computes it (the sum itself is 0 at both ends;
    the ends are the limits of the sum divided by `beta (1 - beta)`, so the scale jumps there). `on_policy_fraction`
    (the paper's lambda) of the responses are sampled from the student, the rest are demonstrations. States carry no
    gradient. Detached: the teacher.

    Source: GKD, arXiv 2306.13649, equation 1 and algorithm 1. Deviations: the paper chooses at random, for each batch,
    between the student's and the teacher's data; here every batch has this fraction, and where it is not a whole number
    per group, groups differ by one. Demonstrations that do not exist are missing from the batch. Only the teacher's
    correct responses are demonstrations.
    """

    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    on_policy_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    reduction: Reduction = Reduction.TOKEN

    @property
    def divergence(self) -> RowDivergence | None:
        return partial(generalized_jsd, beta=self.beta)

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
