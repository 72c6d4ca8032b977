"""The student as its own teacher: as it stands, as its moving average, or as it was before it had adapters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from tgpo.functional.batching import by_token_budget, micro_batches_per_rank
from tgpo.models.policy import Policy
from tgpo.models.weights import copied
from tgpo.runtime.collectives import rank, size, sum_over_ranks
from tgpo.runtime.parallel_map import SEQUENTIAL, ParallelMap
from tgpo.teachers.hf import PassScores, on_grid
from tgpo.types.batch import TokenBatch
from tgpo.types.teacher import TeacherQuery, TeacherSignal


class StudentTeacher:
    """The teacher of `teacher.weights=live` and `ema`, and with adapters of `initial`. No gradient reaches it.

    With several processes each holds a part of the weights: all score their share of the batch in passes made together.

    Args:
        policy: the student, or its average.
        adapters: False leaves the student's adapters out.
        max_tokens: the most tokens of one forward pass, padding included.
    """

    def __init__(
        self, policy: Policy, max_tokens: int, adapters: bool = True, parallel: ParallelMap = SEQUENTIAL
    ) -> None:
        self.policy, self.adapters, self.max_tokens, self.parallel = policy, adapters, max_tokens, parallel
        self.together = size() > 1
        width: int = policy.model.get_output_embeddings().in_features
        self.states_width = None if self.together else width

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        def answer(rows: Tensor) -> PassScores:
            taken = rows if len(rows) else tokens.length_B.argmin()[None]  # all processes make each pass together
            part = tokens.select(taken)
            query_part = query.select(taken, part.mask_BT.shape[1])
            return rows, part.mask_BT, self.policy.answer(part, query_part, self.adapters)

        grids = on_grid(self.parallel.map(answer, self._passes(tokens, query)), tokens.mask_BT)
        if self.together and not query.full:
            grids = {name: sum_over_ranks(grid) for name, grid in grids.items()}
        # a copy of the head, because an update that follows changes the student's own
        head = self.policy.head(self.adapters) if query.full else None
        return TeacherSignal(**grids, head=head)  # pyright: ignore[reportArgumentType]

    def _passes(self, tokens: TokenBatch, query: TeacherQuery) -> list[Tensor]:
        """Returns the rows of each of this process's passes.

        Hidden states are not exchanged: for these the processes ask for their own rows, which are few, in one pass.
        """
        if self.together and query.full:
            return [torch.arange(len(tokens.mask_BT), device=tokens.mask_BT.device)]
        if self.together:
            return micro_batches_per_rank(tokens.length_B, self.max_tokens, size())[rank()]
        return by_token_budget(tokens.length_B, self.max_tokens)


class MovingAverage:
    """The exponential moving average of the student's trained weights, `theta_bar <- d theta_bar + (1 - d) theta`.

    Averaged once for each rollout batch, after its updates. Source: Polyak averaging as SDFT (arXiv 2601.19897) and
    SDPO (arXiv 2601.20802) use it for their teachers.

    Args:
        policy: a copy of the student, sharded as the student is.
        decay: d.
    """

    def __init__(self, policy: Policy, decay: float) -> None:
        self.policy, self.decay = policy, decay

    @torch.no_grad()
    def follow(self, student: Policy) -> None:
        for policy in (self.policy, student):
            if isinstance(policy, FSDPModule):
                policy.reshard()  # a pass without gradient leaves the outermost weights gathered
        trained = dict(student.named_parameters())
        for name, average in self.policy.named_parameters():
            if trained[name].requires_grad:
                average.lerp_(trained[name].to(average.dtype), 1 - self.decay)


def copy_of(policy: Policy) -> Policy:
    """Returns a copy of the student for its average, before either is sharded. Without sharding, the copy shares the
    weights that are not trained."""
    model = copied(policy.model, share_frozen=size() == 1)
    return Policy(model, policy.vocabulary, policy.rows_per_chunk * policy.vocabulary, policy.dtype)
