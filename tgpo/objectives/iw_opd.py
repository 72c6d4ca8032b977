"""Reverse KL that counts more where the student has not yet left the teacher: earlier in a response, as a rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.objectives.log_ratio import TeacherAdvantage, log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT
from tgpo.types.scores import Credit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IWOPD(TeacherAdvantage):
    r"""`loss_t = PPO(A)_t`, `A_t = w_t d_t`, `d_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` (nats per token),
    `w_t = 1 + gamma (1 - sum_{t'<t} |d_t'| / sum_t' |d_t'|)`.

    The weight falls from 1 + gamma at the first token to nearly 1 at the last, by how much of the response's whole
    disagreement with the teacher has already passed. `gamma: 0` is `rkl` exactly. The weight depends on later tokens
    too, through the sum, so that its expected gradient is no state's KL. Detached: the whole advantage.

    Source: IW-OPD, arXiv 2606.22600, as TRL 1.16 computes it (gamma = 0.5).
    """

    gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        advantage_BT = log_ratio_to_teacher(batch)
        if self.gamma:
            advantage_BT = (1 + self.gamma * (1 - share_before(advantage_BT.abs()))) * advantage_BT
        return Credit(batch.mask_BT, advantage_BT)


def share_before(value_BT: Tensor) -> Tensor:
    """Returns the share of each response's sum that lies before each position; 0 where the sum is 0."""
    total_B1 = value_BT.sum(1, keepdim=True)
    before_BT = value_BT.cumsum(1) - value_BT
    return before_BT / total_B1.where(total_B1 > 0, total_B1.new_ones(()))
