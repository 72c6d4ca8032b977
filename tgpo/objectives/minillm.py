"""Reverse KL whose reward-to-go counts: a token answers for what the student writes after it."""

from __future__ import annotations

from pydantic import model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from tgpo.functional.sequence import discounted_future
from tgpo.objectives.base import Share
from tgpo.objectives.log_ratio import TeacherAdvantage, log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT
from tgpo.types.scores import Credit


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MiniLLM(TeacherAdvantage):
    r"""`loss_t = PPO(A)_t`, `A_t = d_t + 1/n_t sum_{t'>t} gamma^(t'-t) d_t'`, `d_t = log pi_T(a_t|s_t) - log
    pi_old(a_t|s_t)` (nats per token).

    With `gamma: 1` and `normalize: false` its expected gradient is that of the reverse KL of complete SEQUENCES,
    `KL(pi_theta || pi_T)`: it accounts for the states that a token leads to. With `gamma: 0` it is `rkl` exactly, which
    does not. In between, the farther future counts less, and so does its noise. `normalize` divides the future by the
    number n_t of its tokens, so that a long response does not outweigh the token's own term. Detached: the advantage.

    Source: MiniLLM, arXiv 2306.08543, section 2.2 (gamma = 1, normalised). Deviations: its own term d_t is the
    sampled token's, where the paper sums over the vocabulary (the same expectation); no mixed sampling from the
    teacher; no language-modelling loss.
    """

    gamma: Share = 1.0
    normalize: bool = True

    @model_validator(mode="after")
    def _there_is_a_future(self) -> MiniLLM:
        if self.gamma == 0:
            self.refuse_unread({"normalize": True}, "gamma is 0, so there is no future to divide")
        return self

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        advantage_BT = log_ratio_to_teacher(batch)
        if self.gamma:
            advantage_BT = advantage_BT + self._future(advantage_BT, batch.mask_BT)
        return Credit(batch.mask_BT, advantage_BT)

    def _future(self, value_BT: Tensor, mask_BT: Tensor) -> Tensor:
        future_BT = discounted_future(value_BT, self.gamma) * mask_BT
        if not self.normalize:
            return future_BT
        return future_BT / discounted_future(mask_BT, 1.0).clamp(min=1)
