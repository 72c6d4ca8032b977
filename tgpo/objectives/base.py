"""The protocol an objective follows, and the part that every policy-gradient objective shares.

Adding one: a file here, a yaml with `_target_` and every default under `conf/objective/`, a test. Nothing is
registered and nothing else changes: the engine reads `needs`, the trainer calls `credit` and `loss`.
"""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from tgpo.functional.policy_gradient import clipped_surrogate
from tgpo.types import STRICT, TOPK_NEEDS, Credit, Need, Reduction, ScoredBatch, StudentScores, TokenLoss

Weight = Annotated[float, Field(ge=0)]
LinearWeight = tuple[Weight, Weight, Weight]  # [w_1, d, w_min] of functional.schedule.linear_decay


class Objective(Protocol):
    """`credit` runs once on whole groups without gradient; `loss` is pure and runs once a micro-batch.

    `loss` returns an UNREDUCED `loss_BT`. The trainer alone reduces, over all tokens of the update: that is what
    makes objectives comparable, micro-batching exact, and gradient variance one piece of code.
    """

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def topk(self) -> int:
        """Entries of the teacher's top-k it reads something of; without meaning unless a need names them."""
        ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def needs_groups(self) -> bool:
        """Whether it compares the rollouts of a prompt with one another (then groups of one teach it nothing)."""
        ...

    def credit(self, batch: ScoredBatch, step: int) -> Credit: ...

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss: ...


def topk_asked(objective: Objective) -> int:
    """How many of the teacher's best tokens the objective reads something of: 0 unless a need names them."""
    return objective.topk if objective.needs & TOPK_NEEDS else 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PolicyGradient:
    r"""`PPO(A)_t = -min(r_t A_t, clip(r_t, 1-clip_low, 1+clip_high) A_t)`, `r_t = pi_theta(a_t|s_t) / pi_old(a_t|s_t)`.

    What `A_t` is, is each objective's own affair, decided in its `credit`. Source: PPO, arXiv 1707.06347, equation 7.
    """

    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    reduction: Reduction = Reduction.TOKEN

    def surrogate(self, student: StudentScores, batch: ScoredBatch, credit: Credit, term: str) -> TokenLoss:
        """The clipped surrogate of `credit.advantage_BT`, logged as the loss's `term`."""
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        surrogate = clipped_surrogate(
            student.logprobs_BT, batch.old_logprobs_BT, credit.advantage_BT, self.clip_low, self.clip_high
        )
        means = {"policy/clip_fraction": surrogate.clipped_BT}
        return TokenLoss(surrogate.loss_BT, terms={term: surrogate.loss_BT.detach()}, token_means=means)
