"""A Hugging Face teacher in this process; each forward pass takes sequences of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tgpo.functional.batching import by_token_budget
from tgpo.functional.sequence import scatter
from tgpo.models.loading import load_model
from tgpo.models.policy import answer_in_one_pass
from tgpo.runtime.parallel_map import SEQUENTIAL, ParallelMap
from tgpo.types.batch import TokenBatch
from tgpo.types.teacher import TeacherQuery, TeacherSignal

# the rows of one forward pass, their mask, and the values of their unmasked tokens
PassScores = tuple[Tensor, Tensor, dict[str, Tensor]]


class HFTeacher:
    """The `hf` teacher backend.

    Args:
        vocabulary: the size of the tokenizer it shares with the student; padding columns beyond it are dropped.
        max_logits: the most logits (rows x vocabulary) that exist at one time.
        max_tokens: the most tokens of one forward pass, padding included.
        parallel: the map that runs several forward passes at a time; must not be the one the caller's passes run in.
    """

    together = False

    def __init__(
        self,
        model: PreTrainedModel,
        vocabulary: int,
        max_logits: int,
        max_tokens: int,
        parallel: ParallelMap = SEQUENTIAL,
    ) -> None:
        self.model: Any = model
        self.parallel = parallel
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self.rows_per_chunk = max(1, max_logits // vocabulary)
        self.states_width: int = self.model.get_output_embeddings().in_features

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        def answer(rows: Tensor) -> PassScores:
            part = tokens.select(rows)
            query_part = query.select(rows, part.mask_BT.shape[1])
            with torch.no_grad():
                values = answer_in_one_pass(self.model, part, query_part, self.vocabulary, self.rows_per_chunk)
            return rows, part.mask_BT, values

        parts = self.parallel.map(answer, by_token_budget(tokens.length_B, self.max_tokens))
        head = self.model.get_output_embeddings() if query.full else None
        return TeacherSignal(**on_grid(parts, tokens.mask_BT), head=head)  # pyright: ignore[reportArgumentType]


def on_grid(parts: Iterable[PassScores], mask_BT: Tensor) -> dict[str, Tensor]:
    """Returns the values of parts of a batch on the grid of the whole batch; 0 elsewhere."""
    grids: dict[str, Tensor] = {}
    for rows, part_mask_BT, values in parts:
        for name, values_N in values.items():
            grid = grids.setdefault(name, values_N.new_zeros(*mask_BT.shape, *values_N.shape[1:]))
            grid[rows, : part_mask_BT.shape[1]] = scatter(values_N, part_mask_BT)[: len(rows)]
    return grids


def load(
    path: str,
    dtype: str,
    device: torch.device,
    vocabulary: int,
    max_logits: int,
    max_tokens: int,
    parallel: ParallelMap = SEQUENTIAL,
    replaced: Mapping[str, Any] | None = None,
) -> HFTeacher:
    """Called by the run for `teacher.backend=hf`; `replaced` are fields of the model's configuration."""
    model = load_model(path, dtype, device, replaced=replaced)
    return HFTeacher(model, vocabulary, max_logits, max_tokens, parallel)
