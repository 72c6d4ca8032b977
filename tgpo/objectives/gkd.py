"""Generalized Knowledge Distillation: a generalized Jensen-Shannon divergence on student and teacher data."""

from __future__ import annotations

from functools import partial

from pydantic.dataclasses import dataclass

from tgpo.functional.divergence import generalized_jsd
from tgpo.objectives.base import Share
from tgpo.objectives.whole_distribution import WholeDistribution
from tgpo.types.problem import STRICT
from tgpo.types.scores import RowDivergence


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GKD(WholeDistribution):
    r"""`loss_t = beta KL(T || M) + (1 - beta) KL(S || M)`, `M = (1 - beta) S + beta T`, over the whole vocabulary.

    Nats per token. `beta` 0 is `KL(T || S)`, 1 is `KL(S || T)`, as TRL computes it (the sum itself is 0 at both ends;
    the ends are the limits of the sum divided by `beta (1 - beta)`, so the scale jumps there). `on_policy_fraction`
    (the paper's lambda) of the responses are sampled from the student, the rest are demonstrations. States carry no
    gradient. Detached: the teacher.

    Source: GKD, arXiv 2306.13649, equation 1 and algorithm 1. Deviations: the paper chooses at random, for each batch,
    between the student's and the teacher's data; here every batch has this fraction, and where it is not a whole number
    per group, groups differ by one. Demonstrations that do not exist are missing from the batch. Only the teacher's
    correct responses are demonstrations.
    """

    beta: Share = 0.5

    @property
    def divergence(self) -> RowDivergence | None:
        return partial(generalized_jsd, beta=self.beta)
