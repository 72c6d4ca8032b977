"""The query that a teacher receives about the student's tokens, and the signal that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from tgpo.types.problem import Need

Head = Callable[[Tensor], Tensor]  # hidden_NH -> logits_NV


@dataclass(frozen=True)
class TeacherQuery:
    """What is requested from the teacher for the tokens of a batch."""

    sampled: bool = True  # its log-probabilities of the tokens themselves
    topk: int = 0  # this many of its best tokens at each position
    at_ids_BTK: Tensor | None = None  # its log-probabilities of these tokens
    uniform_BT: Tensor | None = None  # random numbers in [0, 1), to draw one of its tokens at each position (T = 1)
    full: bool = False  # its hidden states and head, which give complete distributions, a few rows at a time

    def select(self, rows: Tensor, width: int) -> TeacherQuery:
        return select_grids(self, rows, width)


@dataclass(frozen=True)
class TeacherSignal:
    """The teacher's scores of the student's tokens, in the student's own states. Never carries gradient.

    `topk_*` are sorted by probability, so the argmax is entry 0 of the last axis. `student_topk_ids_BTK` are pi_old's
    own best tokens, at which `at_student_topk_BTK` are the teacher's scores. `hidden_BTH` and `head` give the complete
    distribution at each response token; only `policy.py` reads them.
    """

    sampled_logprobs_BT: Tensor | None = None
    topk_ids_BTK: Tensor | None = None
    topk_logprobs_BTK: Tensor | None = None
    at_student_topk_BTK: Tensor | None = None
    student_topk_ids_BTK: Tensor | None = None
    sample_ids_BT: Tensor | None = None
    hidden_BTH: Tensor | None = None
    head: Head | None = None

    def named_ids(self, picked_BT: Tensor) -> Tensor:
        """Returns the ids to score the student at, `[N,J]`: the teacher's best, pi_old's best, the one it sampled."""
        drawn_BT = self.sample_ids_BT
        drawn_BT1 = None if drawn_BT is None else drawn_BT[..., None]
        named = [x for x in (self.topk_ids_BTK, self.student_topk_ids_BTK, drawn_BT1) if x is not None]
        nothing_NK = torch.empty(int(picked_BT.sum()), 0, dtype=torch.long, device=picked_BT.device)
        return torch.cat(named, -1)[picked_BT] if named else nothing_NK

    def narrow(self, needs: frozenset[Need], topk: int) -> TeacherSignal:
        """Returns only what `needs` names, with `topk` entries: an objective cannot read what it did not declare."""

        def given(need: Need, value: Tensor | None) -> Tensor | None:
            return value if need in needs else None

        ids, best = self.topk_ids_BTK, self.topk_logprobs_BTK
        named = needs & {Need.TEACHER_TOPK, Need.OLD_AT_TEACHER_TOPK}
        return TeacherSignal(
            sampled_logprobs_BT=given(Need.TEACHER_SAMPLED, self.sampled_logprobs_BT),
            topk_ids_BTK=ids[..., :topk] if named and ids is not None else None,
            topk_logprobs_BTK=best[..., :topk] if Need.TEACHER_TOPK in needs and best is not None else None,
            at_student_topk_BTK=given(Need.TEACHER_AT_STUDENT_TOPK, self.at_student_topk_BTK),
            student_topk_ids_BTK=given(Need.STUDENT_AT_OLD_TOPK, self.student_topk_ids_BTK),
            sample_ids_BT=given(Need.TEACHER_SAMPLE, self.sample_ids_BT),
            hidden_BTH=given(Need.TEACHER_FULL, self.hidden_BTH),
            head=self.head if Need.TEACHER_FULL in needs else None,
        )

    def select(self, rows: Tensor, width: int) -> TeacherSignal:
        return select_grids(self, rows, width)

    def to(self, device: torch.device | str) -> TeacherSignal:
        return replace(self, **{name: x.to(device) for name, x in vars(self).items() if isinstance(x, Tensor)})


Grids = TypeVar("Grids", TeacherQuery, TeacherSignal)


def select_grids(grids: Grids, rows: Tensor, width: int) -> Grids:
    """Returns these rows and the first `width` positions of every tensor."""
    return replace(grids, **{name: x[rows, :width] for name, x in vars(grids).items() if isinstance(x, Tensor)})
