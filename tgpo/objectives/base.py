"""The protocol an objective follows, and the part that every policy-gradient objective shares.

Adding one: a file here, a yaml with `_target_` and every default under `conf/objective/`, a test. Nothing is
registered and nothing else changes: the engine reads `needs`, the trainer calls `credit` and `loss`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor

from tgpo.functional.policy_gradient import clipped_surrogate
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need, Reduction
from tgpo.types.scores import Credit, RowDivergence, StudentScores, TokenLoss

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LinearWeight = tuple[Weight, Weight, Weight]  # [w_1, d, w_min] of functional.schedule.linear_decay


class Objective(Protocol):
    """`credit` runs once on whole groups without gradient; `loss` is pure and runs once a micro-batch.

    `loss` returns an UNREDUCED `loss_BT`. The trainer alone reduces, over all tokens of the update: that is what
    makes objectives comparable, micro-batching exact, and gradient variance one piece of code.
    """

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def teacher_topk(self) -> int:
        """Entries of the teacher's top-k it reads; 0 unless a need names them. More than there are tokens: all."""
        ...

    @property
    def student_topk(self) -> int:
        """Entries of pi_old's own top-k it reads; 0 without TEACHER_AT_STUDENT_TOPK."""
        ...

    @property
    def divergence(self) -> RowDivergence | None:
        """With TEACHER_FULL: what `policy.py` evaluates on the two whole distributions, a few rows at a time."""
        ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def needs_groups(self) -> bool:
        """Whether it compares the rollouts of a prompt with one another (then groups of one teach it nothing)."""
        ...

    def mix(self, group: int, size: int) -> GroupComposition:
        """What the `size` responses of the rollout batch's group number `group` are made of."""
        ...

    def credit(self, batch: ScoredBatch, step: int) -> Credit: ...

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss: ...

    def observe(self, batch: ScoredBatch) -> None:
        """Called once a rollout batch, after its updates: where a controller moves. All else is frozen."""
        ...

    def state_dict(self) -> dict[str, float]:
        """The controller's state, which checkpoints carry; empty without one."""
        ...

    def load_state_dict(self, state: Mapping[str, float]) -> None: ...


class ObjectiveDefaults:
    """What an objective is unless it says otherwise: rollouts alone, no top-k, no groups, no controller."""

    teacher_topk = 0
    student_topk = 0
    needs_groups = False

    @property
    def divergence(self) -> RowDivergence | None:
        return None

    def mix(self, group: int, size: int) -> GroupComposition:
        return GroupComposition(student=size, demonstrations=0)

    def observe(self, batch: ScoredBatch) -> None:
        pass

    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} has no controller to put {sorted(state)} back into")


def apply_importance_weights(value_BT: Tensor, batch: ScoredBatch) -> Tensor:
    """An advantage, or a loss estimated from the sampled token, times what that token weighs (`importance_cap`)."""
    return value_BT if batch.importance_BT is None else value_BT * batch.importance_BT


def fill_defaults(given: ArgsKwargs, defaults: Mapping[str, Any]) -> ArgsKwargs:
    """For a `before` validator: options left out or null take `defaults`, which depend on another option."""
    options = dict(given.kwargs or {})
    options |= {name: value for name, value in defaults.items() if options.get(name) is None}
    return ArgsKwargs(given.args, options)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PolicyGradient(ObjectiveDefaults):
    r"""`PPO(A)_t = -min(r_t A_t, clip(r_t, 1-clip_low, 1+clip_high) A_t)`, `r_t = pi_theta(a_t|s_t) / pi_old(a_t|s_t)`.

    What `A_t` is, is each objective's own affair, decided in its `credit`. Source: PPO, arXiv 1707.06347, equation 7.
    """

    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    reduction: Reduction = Reduction.TOKEN

    def refuse_unread(self, defaults: Mapping[str, Any], why: str) -> None:
        """For an `after` validator: options that this choice of others does not read stay at their defaults."""
        if given := [name for name, value in defaults.items() if getattr(self, name) != value]:
            raise ValueError(f"{given[0]}={getattr(self, given[0])}: {why}; leave it out")

    def surrogate(self, student: StudentScores, batch: ScoredBatch, credit: Credit, term: str) -> TokenLoss:
        """The clipped surrogate of `credit.advantage_BT`, logged as the loss's `term`."""
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        advantage_BT = apply_importance_weights(credit.advantage_BT, batch)
        surrogate = clipped_surrogate(
            student.logprobs_BT, batch.old_logprobs_BT, advantage_BT, self.clip_low, self.clip_high
        )
        means = {"policy/clip_fraction": surrogate.clipped_BT}
        return TokenLoss(surrogate.loss_BT, terms={term: surrogate.loss_BT.detach()}, token_means=means)
