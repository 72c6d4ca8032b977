"""The protocol an objective follows, and the part that every group-relative objective shares.

Adding one: a file here, a yaml with `_target_` and every default under `conf/objective/`, a test. Nothing is
registered and nothing else changes: the engine reads `needs`, the trainer calls `credit` and `loss`.
"""

from __future__ import annotations

from typing import Protocol

from tgpo.types import Credit, Need, Reduction, ScoredBatch, StudentScores, TokenLoss


class Objective(Protocol):
    """`credit` runs once on whole groups without gradient; `loss` is pure and runs once a micro-batch.

    `loss` returns an UNREDUCED `loss_BT`. The trainer alone reduces, over all tokens of the update: that is what
    makes objectives comparable, micro-batching exact, and gradient variance one piece of code.
    """

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def topk(self) -> int:
        """Entries of the teacher's top-k it reads; 0 unless it needs TEACHER_TOPK."""
        ...

    @property
    def reduction(self) -> Reduction: ...

    @property
    def needs_groups(self) -> bool:
        """Whether it compares the rollouts of a prompt with one another (then groups of one teach it nothing)."""
        ...

    def credit(self, batch: ScoredBatch, step: int) -> Credit: ...

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss: ...
