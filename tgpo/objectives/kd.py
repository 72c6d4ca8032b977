"""Knowledge distillation by one of a family of divergences between the complete distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial
from typing import Any, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor

from tgpo.functional.divergence_family import (
    alpha_beta,
    both_kl,
    skew_forward_kl,
    skew_reverse_kl,
    to_moving_target,
)
from tgpo.objectives.base import Share, fill_defaults
from tgpo.objectives.whole_distribution import WholeDistribution
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT
from tgpo.types.scores import RowDivergence

# The options that each kind reads, with the value that null stands for.
OPTIONS = {
    "skew_fkl": {"alpha": 0.1},
    "skew_rkl": {"alpha": 0.1},
    "both": {"forward": 0.5},
    "alpha_beta": {"alpha": 0.2, "beta": 0.7},
    "taid": {"share": (0.4, 0.01, 1.0)},
}
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "skew_fkl": skew_forward_kl,
    "skew_rkl": skew_reverse_kl,
    "both": both_kl,
    "alpha_beta": alpha_beta,
    "taid": to_moving_target,
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KD(WholeDistribution):
    r"""`loss_t` is a divergence of the student's distribution S from the teacher's T over the whole vocabulary, nats a
    token. `kind` says which:

    - `skew_fkl`: `KL(T || alpha T + (1 - alpha) S)`, and `skew_rkl`: `KL(S || (1 - alpha) T + alpha S)`; alpha = 0 is
      the KL itself. DistiLLM, arXiv 2402.03898 (alpha = 0.1)
    - `both`: `(1 - forward) KL(S || T) + forward KL(T || S)`. arXiv 2605.16826
    - `alpha_beta`: the divergence of which (1, 0) is `KL(T || S)` and (0, 1) is `KL(S || T)`. ABKD, arXiv 2505.04560
      (0.2 and 0.7 for following instructions)
    - `taid`: `KL(M || S)`, M in proportion to `sg[S]^(1 - s_k) T^(s_k)`, a target that moves from the student to the
      teacher: `share` is `[s_1, d, s_max]` and `s_k = min(s_1 + (k - 1) d, s_max)`. TAID, arXiv 2501.16937; its share
      also grows faster while the loss falls, which is left out: an objective sees no loss

    States carry no gradient; `on_policy_fraction` of the responses are the student's, the others demonstrations.
    Detached: the teacher, and in `taid` the target.
    """

    kind: Literal["skew_fkl", "skew_rkl", "both", "alpha_beta", "taid"] = "skew_rkl"
    alpha: Share | None = None
    beta: Share | None = None
    forward: Share | None = None
    share: tuple[Share, Share, Share] | None = None
    _progress: dict[str, float] = field(init=False, repr=False, default_factory=dict)  # {"batches": rollout batches}

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: ArgsKwargs) -> ArgsKwargs:
        return fill_defaults(given, OPTIONS.get((given.kwargs or {}).get("kind", "skew_rkl"), {}))

    @model_validator(mode="after")
    def _nothing_is_unread(self) -> KD:
        for name in ("alpha", "beta", "forward", "share"):
            if getattr(self, name) is not None and name not in OPTIONS[self.kind]:
                raise ValueError(f"{name}={getattr(self, name)}: kind={self.kind} does not read it; leave it out")
        if self.kind == "alpha_beta" and not self.alpha and not self.beta:
            raise ValueError("alpha=0: with beta=0 too there is no divergence; give one of them a value")
        if self.kind in ("skew_fkl", "skew_rkl") and self.alpha == 1:
            raise ValueError("alpha=1: the divergence of a distribution from itself is always 0")
        return self

    @property
    def divergence(self) -> RowDivergence | None:
        options: dict[str, Any] = {name: getattr(self, name) for name in OPTIONS[self.kind]}
        if self.kind == "taid":
            first, rise, most = options["share"]
            options["share"] = min(first + self._progress.get("batches", 0) * rise, most)
        return partial(FUNCTIONS[self.kind], **options)

    def observe(self, batch: ScoredBatch) -> None:
        if self.kind == "taid":
            self._progress["batches"] = self._progress.get("batches", 0) + 1

    def state_dict(self) -> dict[str, float]:
        return dict(self._progress)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._progress.update(state)
