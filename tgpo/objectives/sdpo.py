"""Self-distillation: the student's divergence from itself with privileged text, at every token of its rollout."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.divergence import clipped_jsd, generalized_jsd, topk_distributions
from tgpo.functional.policy_gradient import truncated_ratio
from tgpo.objectives.base import ObjectiveDefaults, Share
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need, Reduction
from tgpo.types.scores import Credit, RowDivergence, StudentScores, TokenLoss

Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SDPO(ObjectiveDefaults):
    r"""`loss_t = min(sg[pi_theta / pi_old], importance_clip) * (beta KL(T || M) + (1 - beta) KL(S || M))`.

    `M = (1 - beta) S + beta T`; `beta` 0 is the forward `KL(T || S)`, 1 the reverse `KL(S || T)`, in between the
    generalised Jensen-Shannon divergence, as in `gkd` (nats per token; the scale jumps at the ends). What makes it
    self-distillation is the teacher T: the student with a text to read that the student S does not see. That is
    configured under `teacher`, not here; `sdpo`, `opsd` and `sdft` are this class with different defaults. The ratio is
    that of the sampled token. States carry no gradient. Detached: the teacher, the ratio.

    - `topk: null` sums over the complete vocabulary; a number over pi_old's own best tokens, whose ids stay fixed for
      all updates of a batch. `tail: true` adds one entry for the probability of all other tokens, which makes the loss
      a lower bound of the complete divergence; `false` renormalises both sides on these tokens.
    - `importance_clip: null` leaves the ratio out. In the first update of a batch it is 1.
    - `entry_clip` cuts each entry of the sum over tokens at this value before it is added up. It is no divergence then
      and can push the student away from the teacher: see `functional.divergence.clipped_jsd`.

    The logged `loss/teacher` is the divergence without the ratio.

    Source: SDPO, arXiv 2601.20802, and its code (lasgroup/SDPO), whose alpha is beta; `topk`, `tail`, `importance_clip`
    and the defaults are the code's. The paper writes the reverse KL. Deviations: the code takes the best tokens of the
    student that is being updated; and it averages over the tokens that have a teacher, here over all, so that responses
    without one make the loss smaller. `entry_clip` is from the code of OPSD, arXiv 2601.18734.
    """

    beta: Share = 0.5
    topk: Annotated[int, Field(ge=1)] | None = 100
    tail: bool = True
    importance_clip: Above0 | None = 2.0
    entry_clip: Above0 | None = None
    reduction: Reduction = Reduction.TOKEN

    @model_validator(mode="after")
    def _options_fit_together(self) -> SDPO:
        if self.topk is None and not self.tail:
            raise ValueError("tail=False: only with topk are there tokens that are left out; leave it out")
        if self.topk == 1 and not self.tail:
            raise ValueError("topk=1 without a tail: both sides are renormalised on one token, so the loss is always 0")
        return self

    @property
    def student_topk(self) -> int:
        return self.topk or 0

    @property
    def divergence(self) -> RowDivergence | None:
        return self._between if self.topk is None else None

    @property
    def needs(self) -> frozenset[Need]:
        topk_needs = {Need.STUDENT_AT_OLD_TOPK, Need.TEACHER_AT_STUDENT_TOPK}
        ratio_needs = set() if self.importance_clip is None else {Need.OLD_LOGPROBS}
        return frozenset(({Need.TEACHER_FULL} if self.topk is None else topk_needs) | ratio_needs)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        return Credit(batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        divergence_BT = student.divergence_BT if self.topk is None else self._on_topk(student, batch)
        assert divergence_BT is not None
        loss_BT = divergence_BT * batch.teacher_mask_BT
        terms = {"teacher": loss_BT.detach()}
        if self.importance_clip is not None:
            assert batch.old_logprobs_BT is not None
            loss_BT = loss_BT * truncated_ratio(student.logprobs_BT, batch.old_logprobs_BT, self.importance_clip)
        return TokenLoss(loss_BT, terms)

    def _on_topk(self, student: StudentScores, batch: ScoredBatch) -> Tensor:
        assert batch.teacher is not None and batch.teacher.at_student_topk_BTK is not None
        assert student.at_old_topk_BTK is not None
        ours_BTK, theirs_BTK = student.at_old_topk_BTK, batch.teacher.at_student_topk_BTK
        return self._between(*topk_distributions(ours_BTK, theirs_BTK, self.tail))

    @property
    def _between(self) -> RowDivergence:
        if self.entry_clip is None:
            return partial(generalized_jsd, beta=self.beta)
        return partial(clipped_jsd, beta=self.beta, entry_clip=self.entry_clip)
