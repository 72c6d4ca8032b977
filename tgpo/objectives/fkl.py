"""Forward KL from the teacher in the student's own states."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.functional.divergence import forward_kl, topk_forward_kl
from tgpo.objectives.base import ObjectiveDefaults
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need, Reduction
from tgpo.types.scores import Credit, RowDivergence, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FKL(ObjectiveDefaults):
    r"""`loss_t = sum_v pi_T(v|s_t) (log pi_T(v|s_t) - log pi_theta(v|s_t))` at every token of the student's rollout.

    Nats per token. Exact over the whole vocabulary (`topk` null), or over the teacher's `topk` best tokens with the
    teacher renormalised on them: `renormalize: teacher` does not renormalise the student, so that its probability
    outside the top-k is moved onto these tokens; `both` renormalises the student too, so that the rest of the
    vocabulary gets no gradient. States are the student's and carry no gradient: the expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_T(.|s_t) || pi_theta(.|s_t))`. Detached: the teacher.

    Source: GKD, arXiv 2306.13649, with the forward KL and on-policy data only; the top-k form is this project's, like
    TGPO's (arXiv 2605.13230) `target: topk`.
    """

    topk: Annotated[int, Field(ge=1)] | None = None
    renormalize: Literal["teacher", "both"] = "teacher"
    reduction: Reduction = Reduction.TOKEN

    @model_validator(mode="after")
    def _renormalized_over_several(self) -> FKL:
        if self.renormalize == "both" and (self.topk is None or self.topk < 2):
            raise ValueError("renormalize: both needs topk of 2 or more; with one token the loss is always 0")
        return self

    @property
    def teacher_topk(self) -> int:
        return self.topk or 0

    @property
    def divergence(self) -> RowDivergence | None:
        return forward_kl if self.topk is None else None

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.TEACHER_FULL if self.topk is None else Need.TEACHER_TOPK})

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        loss_BT = student.divergence_BT
        if self.topk is not None:
            assert batch.teacher is not None and batch.teacher.topk_logprobs_BTK is not None
            assert student.at_teacher_topk_BTK is not None
            student_BTK = student.at_teacher_topk_BTK
            if self.renormalize == "both":
                student_BTK = student_BTK.log_softmax(-1)
            loss_BT = topk_forward_kl(student_BTK, batch.teacher.topk_logprobs_BTK)
        assert loss_BT is not None
        loss_BT = loss_BT * batch.teacher_mask_BT
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})
