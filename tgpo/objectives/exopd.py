"""On-policy distillation with an extrapolated reward: past the teacher, away from where the student began."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from tgpo.objectives.base import Weight
from tgpo.objectives.log_ratio import TeacherAdvantage, log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExOPD(TeacherAdvantage):
    r"""`loss_t = PPO(A)_t`, `A_t = l (log pi_T - log pi_ref) - (log pi_old - log pi_ref)` at a_t (nats per token).

    The log-ratio of teacher to reference is a reward and the log-ratio of pi_old to the reference a penalty;
    `extrapolation` is l, the reward's weight. The reference pi_ref is the student as it was before training. At l = 1
    pi_ref cancels, and this is `rkl` exactly; above 1 (ExOPD) the student is drawn past the teacher, below 1 it stays
    between the two, and at 0 the teacher is not heard. Its expected gradient is that of
    `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || q(.|s_t))`, `q(v|s)` in proportion to `pi_T(v|s)^l pi_ref(v|s)^(1-l)`:
    the normaliser depends on the state alone, so it is a baseline. Detached: the whole advantage.

    Source: G-OPD, arXiv 2602.12125, section 3.2, with its weight 1.25 for ExOPD. Its "reward correction", which takes
    the teacher's own base model as the reference, is left out: it would take a third model.
    """

    extrapolation: Weight = 1.25

    @property
    def needs(self) -> frozenset[Need]:
        reference = set() if self.extrapolation == 1 else {Need.REFERENCE_SAMPLED}
        return super().needs | reference

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        advantage_BT = log_ratio_to_teacher(batch)
        if self.extrapolation != 1:  # the same sum in another order, so that l = 1 is `rkl` to the last digit
            assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
            assert batch.reference_logprobs_BT is not None
            beyond_BT = batch.teacher.sampled_logprobs_BT - batch.reference_logprobs_BT
            advantage_BT = advantage_BT + (self.extrapolation - 1) * beyond_BT
        return Credit(batch.mask_BT, advantage_BT * batch.teacher_mask_BT)
