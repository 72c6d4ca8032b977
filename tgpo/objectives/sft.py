"""Supervised fine-tuning on the teacher's demonstrations: sequence-level forward KL."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.objectives.base import ObjectiveDefaults
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SFT(ObjectiveDefaults):
    r"""`loss_t = -log pi_theta(y_t | s_t)` (nats per token) on demonstrations y, `demonstrations` per prompt.

    Nothing is sampled from the student. Over demonstrations drawn from the teacher, the expected loss is
    `KL(pi_T || pi_theta)` between complete sequences, plus the teacher's entropy, which has no gradient. The verifier
    keeps only correct ones, so the student imitates the teacher's distribution CONDITIONED on a correct answer.
    Detached: nothing.

    Source: sequence-level knowledge distillation, Kim & Rush 2016 (arXiv 1606.07947), section 3.2, with samples in
    place of the teacher's beam search in the paper.
    """

    demonstrations: Annotated[int, Field(ge=1)] = 1
    reduction: Reduction = Reduction.TOKEN

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.DEMONSTRATION})

    def mix(self, group: int, size: int) -> GroupComposition:
        return GroupComposition(student=0, demonstrations=self.demonstrations)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT * batch.off_policy_B[:, None])

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        loss_BT = -student.logprobs_BT
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})
