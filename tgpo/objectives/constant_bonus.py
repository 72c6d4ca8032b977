"""The control for `tgpo_adv`: the same surrogate with a bonus that does not depend on a teacher."""

from __future__ import annotations

from dataclasses import replace

from pydantic.dataclasses import dataclass

from tgpo.functional.schedule import linear_decay
from tgpo.objectives.base import LinearWeight
from tgpo.objectives.grpo import GRPO
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT
from tgpo.types.scores import Credit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConstantBonus(GRPO):
    r"""`loss_t = PPO(A + w_k * bonus)`, `w_k = max(w_1 - (k-1) d, w_min)`; `weight` is `[w_1, d, w_min]`.

    Where `tgpo_adv` has `pi_old(y*_t | s_t)`, this has the constant `bonus` at every token, so an effect that both
    objectives have cannot come from the teacher. For fixed response lengths its expected gradient is GRPO's. Since
    `1 / length` depends on the sampled response, `reduction: sequence` adds `w_k bonus grad E[1 / length]`, which
    favours short responses; `token` adds the same divided by the number of responses in an update, and `constant`
    nothing. Detached: the whole advantage. Source: this project.
    """

    weight: LinearWeight = (2e-2, 1e-4, 0.0)
    bonus: float = 1.0

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        policy, weight = super().credit(batch, step), linear_decay(step, *self.weight)
        assert policy.advantage_BT is not None
        advantage_BT = policy.advantage_BT + weight * self.bonus * batch.mask_BT
        return replace(policy, advantage_BT=advantage_BT, scalars={"loss/bonus_weight": weight})
