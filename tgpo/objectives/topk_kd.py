"""A divergence on a few tokens of each state: the student's best, the teacher's best, or both."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.divergence import LOG_OF_NOTHING, generalized_jsd, topk_distributions
from tgpo.objectives.base import ObjectiveDefaults, Share
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss

OF_THE_STUDENT = frozenset({Need.STUDENT_AT_OLD_TOPK, Need.TEACHER_AT_STUDENT_TOPK})
OF_THE_TEACHER = frozenset({Need.TEACHER_TOPK})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TopKKD(ObjectiveDefaults):
    r"""`loss_t = D(S_K, T_K)`, D the divergence of `gkd` (`beta` 1 is `KL(S || T)`, 0 is `KL(T || S)`; nats per token),
    S_K and T_K student and teacher on the tokens K.

    `tokens` says which: the `topk` best of pi_old (`student`), of the teacher (`teacher`), all that are among either
    (`union`) or among both (`intersection`). `tail: true` adds one entry for the probability of all other tokens, which
    makes the loss a lower bound of the complete divergence; `false` renormalises both sides on K. Where K is empty, or
    one token without a tail, the loss is 0. Which tokens K holds carries no gradient, and is the same for all updates
    of a batch. Detached: the teacher.

    With `rkl` (the sampled token) and `gkd` (the whole vocabulary) it makes the granularity of the signal one axis: the
    divergence stays, and what changes is where it is looked at. Source: arXiv 2604.13016 compares k = 16 of either side
    and of both; TA-OPD, arXiv 2608.14728, adds the tail.
    """

    tokens: Literal["student", "teacher", "union", "intersection"] = "student"
    topk: Annotated[int, Field(ge=1)] = 16
    tail: bool = True
    beta: Share = 1.0
    reduction: Reduction = Reduction.TOKEN

    @model_validator(mode="after")
    def _there_is_something_to_compare(self) -> TopKKD:
        if self.topk == 1 and not self.tail:
            raise ValueError("topk=1 without a tail: renormalised on one token both sides agree; use 2 or more")
        return self

    @property
    def teacher_topk(self) -> int:
        return 0 if self.tokens == "student" else self.topk

    @property
    def student_topk(self) -> int:
        return 0 if self.tokens == "teacher" else self.topk

    @property
    def needs(self) -> frozenset[Need]:
        return (OF_THE_TEACHER if self.teacher_topk else frozenset()) | (
            OF_THE_STUDENT if self.student_topk else frozenset()
        )

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        ours_BTK, theirs_BTK = self._on_the_tokens(student, batch)
        divergence_BT = generalized_jsd(*topk_distributions(ours_BTK, theirs_BTK, self.tail), self.beta)
        loss_BT = divergence_BT * batch.teacher_mask_BT
        return TokenLoss(loss_BT, terms={"teacher": loss_BT.detach()})

    def _on_the_tokens(self, student: StudentScores, batch: ScoredBatch) -> tuple[Tensor, Tensor]:
        """Returns the log-probabilities of student and teacher, `[B,T,K]`; nearly -inf where a token is not in K."""
        teacher = batch.teacher
        assert teacher is not None
        of_teacher = student.at_teacher_topk_BTK, teacher.topk_logprobs_BTK
        of_student = student.at_old_topk_BTK, teacher.at_student_topk_BTK
        if self.tokens == "teacher":
            return present(of_teacher)
        if self.tokens == "student":
            return present(of_student)
        assert teacher.student_topk_ids_BTK is not None and teacher.topk_ids_BTK is not None
        is_both_BTK = (teacher.student_topk_ids_BTK[..., None] == teacher.topk_ids_BTK[..., None, :]).any(-1)
        left_out_BTK = ~is_both_BTK if self.tokens == "intersection" else is_both_BTK
        ours_BTK, theirs_BTK = (x.masked_fill(left_out_BTK, LOG_OF_NOTHING) for x in present(of_student))
        if self.tokens == "intersection":
            return ours_BTK, theirs_BTK
        more_ours_BTK, more_theirs_BTK = present(of_teacher)
        return torch.cat([more_ours_BTK, ours_BTK], -1), torch.cat([more_theirs_BTK, theirs_BTK], -1)


def present(pair: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor]:
    ours_BTK, theirs_BTK = pair
    assert ours_BTK is not None and theirs_BTK is not None
    return ours_BTK, theirs_BTK
