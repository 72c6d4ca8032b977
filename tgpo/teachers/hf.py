"""A Hugging Face teacher in this process; each forward pass takes sequences of similar length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tgpo.functional.batching import by_token_budget
from tgpo.functional.head import score_teacher_hidden
from tgpo.functional.sequence import join, scatter
from tgpo.models.loading import load_model
from tgpo.runtime.parallel_map import SEQUENTIAL, ParallelMap
from tgpo.types.batch import TokenBatch
from tgpo.types.teacher import TeacherQuery, TeacherSignal


class HFTeacher:
    """The `hf` teacher backend.

    Args:
        vocabulary: the size of the tokenizer it shares with the student; padding columns beyond it are dropped.
        max_logits: the most logits (rows x vocabulary) that exist at one time.
        max_tokens: the most tokens of one forward pass, padding included.
        parallel: the map that runs several forward passes at a time; must not be the one the caller's passes run in.
    """

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
        batch, width = tokens.response_BT.shape

        def answer(rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            part = tokens.select(rows)
            mask_BT = part.mask_BT
            return rows, mask_BT, self._score(part, query.select(rows, mask_BT.shape[1]), mask_BT > 0)

        grids: dict[str, Tensor] = {}
        for rows, mask_BT, values in self.parallel.map(answer, by_token_budget(tokens.length_B, self.max_tokens)):
            for name, values_N in values.items():
                grid = grids.setdefault(name, values_N.new_zeros(batch, width, *values_N.shape[1:]))
                grid[rows, : mask_BT.shape[1]] = scatter(values_N, mask_BT)
        head = self.model.get_output_embeddings() if query.full else None
        return TeacherSignal(**grids, head=head)  # pyright: ignore[reportArgumentType]  the keys name tensor fields

    @torch.no_grad()
    def _score(self, tokens: TokenBatch, query: TeacherQuery, picked_BT: Tensor) -> dict[str, Tensor]:
        """Makes one forward pass; returns what `query` requests for the unmasked response tokens, row by row."""
        at_ids_NJ = None if query.at_ids_BTK is None else query.at_ids_BTK[picked_BT]
        uniform_N = None if query.uniform_BT is None else query.uniform_BT[picked_BT]
        joined = join(tokens)
        hidden_BSH = self.model.get_decoder()(joined.ids_BS, use_cache=False).last_hidden_state
        hidden_NH = hidden_BSH[joined.row_N, joined.position_N]
        answers = {"hidden_BTH": hidden_NH} if query.full else {}
        if not (query.sampled or query.topk or at_ids_NJ is not None or uniform_N is not None):
            return answers  # the policy, which reads the hidden states, runs the head
        scores = score_teacher_hidden(
            self.model.get_output_embeddings(),
            hidden_NH,
            joined.token_N,
            query.topk,
            joined.token_N.new_empty(len(joined.token_N), 0) if at_ids_NJ is None else at_ids_NJ,
            uniform_N,
            self.vocabulary,
            self.rows_per_chunk,
        )
        if query.sampled:
            answers["sampled_logprobs_BT"] = scores.logprobs_N
        if query.topk:
            answers |= {"topk_ids_BTK": scores.topk_ids_NK, "topk_logprobs_BTK": scores.topk_logprobs_NK}
        if at_ids_NJ is not None:
            answers["at_student_topk_BTK"] = scores.at_ids_NJ
        if uniform_N is not None:
            answers["sample_ids_BT"] = scores.sample_N
        return answers


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
