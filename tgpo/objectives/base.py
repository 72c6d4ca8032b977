"""The protocol that every objective follows, and the code that the policy-gradient objectives share.

To add an objective: a file here, a yaml with `_target_` and every default under `conf/objective/`, a test. Nothing is
registered and no other file changes: the collector reads `needs`, the trainer calls `credit` and `loss`.
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
Share = Annotated[float, Field(ge=0, le=1)]
LinearWeight = tuple[Weight, Weight, Weight]  # [w_1, d, w_min] of functional.schedule.linear_decay


class Objective(Protocol):
    """`credit` runs once per rollout batch, on complete groups and without gradient; `loss` is pure and runs once per
    micro-batch.

    `loss` returns an UNREDUCED `loss_BT`. Only the trainer reduces, over all tokens of the update. This makes
    objectives comparable and micro-batching exact, and one piece of code measures gradient variance for all of them.
    """

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def teacher_topk(self) -> int:
        """The number of the teacher's best tokens that the objective reads; 0 unless `needs` names them. A number
        above the vocabulary's size means all tokens."""
        ...

    @property
    def student_topk(self) -> int:
        """The number of pi_old's own best tokens that the objective reads; 0 without TEACHER_AT_STUDENT_TOPK."""
        ...

    @property
    def divergence(self) -> RowDivergence | None:
        """With TEACHER_FULL: the function that `policy.py` evaluates on the student's and the teacher's complete
        distributions, a few rows at a time."""
        ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def needs_groups(self) -> bool:
        """Whether it compares the rollouts of a prompt with one another; groups of one then give no signal."""
        ...

    def mix(self, group: int, size: int) -> GroupComposition:
        """Returns how many of a group's `size` responses the student samples and how many are demonstrations; `group`
        is the group's number in the rollout batch."""
        ...

    def credit(self, batch: ScoredBatch, step: int) -> Credit: ...

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss: ...

    def observe(self, batch: ScoredBatch) -> None:
        """Called once per rollout batch, after its updates. An objective changes its controller's state only here."""
        ...

    def state_dict(self) -> dict[str, float]:
        """Returns the controller's state, which checkpoints store; empty without a controller."""
        ...

    def load_state_dict(self, state: Mapping[str, float]) -> None: ...


class ObjectiveDefaults:
    """The defaults of an objective: the student's rollouts only, no top-k, no groups, no controller."""

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
    """Multiplies an advantage, or a loss estimated from the sampled token, by the token's importance weight, if any.

    The batch has importance weights when `rollout.importance_cap` is set.
    """
    return value_BT if batch.importance_BT is None else value_BT * batch.importance_BT


def fill_defaults(given: ArgsKwargs, defaults: Mapping[str, Any]) -> ArgsKwargs:
    """For a `before` validator: sets options left out or null to `defaults`, which depend on another option."""
    options = dict(given.kwargs or {})
    options |= {name: value for name, value in defaults.items() if options.get(name) is None}
    return ArgsKwargs(given.args, options)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PolicyGradient(ObjectiveDefaults):
    r"""`PPO(A)_t = -min(r_t A_t, clip(r_t, 1-clip_low, 1+clip_high) A_t)`, `r_t = pi_theta(a_t|s_t) / pi_old(a_t|s_t)`.

    Each objective computes its own `A_t` in `credit`. Source: PPO, arXiv 1707.06347, equation 7.
    """

    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    clip_high: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    reduction: Reduction = Reduction.TOKEN

    def refuse_unread(self, defaults: Mapping[str, Any], why: str) -> None:
        """For an `after` validator: raises ValueError if an option that the other options leave unused is not at its
        default."""
        if given := [name for name, value in defaults.items() if getattr(self, name) != value]:
            raise ValueError(f"{given[0]}={getattr(self, given[0])}: {why}; leave it out")

    def surrogate(self, student: StudentScores, batch: ScoredBatch, credit: Credit, term: str) -> TokenLoss:
        """Returns the clipped surrogate of `credit.advantage_BT`; it is logged as `loss/<term>`."""
        assert batch.old_logprobs_BT is not None and credit.advantage_BT is not None
        advantage_BT = apply_importance_weights(credit.advantage_BT, batch)
        surrogate = clipped_surrogate(
            student.logprobs_BT, batch.old_logprobs_BT, advantage_BT, self.clip_low, self.clip_high
        )
        means = {"policy/clip_fraction": surrogate.clipped_BT}
        return TokenLoss(surrogate.loss_BT, terms={term: surrogate.loss_BT.detach()}, token_means=means)
