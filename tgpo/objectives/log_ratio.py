"""The log-ratio of teacher to student at the sampled tokens, and what the objectives that learn by it share."""

from __future__ import annotations

from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.objectives.base import PolicyGradient
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


def log_ratio_to_teacher(batch: ScoredBatch) -> Tensor:
    """Returns `log pi_T(a_t|s_t) - log pi_old(a_t|s_t)`, `[B,T]`, nats per token, and 0 where no teacher scored a
    response. Its mean is minus the reverse KL."""
    assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
    assert batch.old_logprobs_BT is not None
    return (batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT) * batch.teacher_mask_BT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TeacherAdvantage(PolicyGradient):
    """`loss_t = PPO(A)_t`, where each objective makes its own `A_t` of the log-ratio, in `credit`."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.TEACHER_SAMPLED, Need.OLD_LOGPROBS})

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        return self.surrogate(student, batch, credit, "teacher")
