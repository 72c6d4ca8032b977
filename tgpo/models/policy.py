"""The student's forward pass: tokens -> StudentScores. The output head is applied to one chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tgpo.functional.head import Against, answer_query, score_hidden
from tgpo.functional.scoring import student_scores
from tgpo.functional.sequence import join
from tgpo.models.loading import precision
from tgpo.models.weights import head_weight, without_adapters
from tgpo.types.batch import TokenBatch
from tgpo.types.scores import RowDivergence, StudentScores
from tgpo.types.teacher import Head, TeacherQuery, TeacherSignal


def answer_in_one_pass(
    model: Any, tokens: TokenBatch, query: TeacherQuery, vocabulary: int, rows_per_chunk: int
) -> dict[str, Tensor]:
    """Makes one forward pass; returns what `query` requests for the unmasked response tokens (`answer_query`)."""
    joined = join(tokens)
    hidden_BSH = model.get_decoder()(joined.ids_BS, use_cache=False).last_hidden_state
    hidden_NH, head = hidden_BSH[joined.row_N, joined.position_N], model.get_output_embeddings()
    return answer_query(head, hidden_NH, joined.token_N, tokens.mask_BT > 0, query, vocabulary, rows_per_chunk)


class Policy(nn.Module):
    """A causal language model that returns per-token scores and never logits.

    It is one module with one forward method, so that `fully_shard` can be applied to it and to its blocks unchanged.

    Args:
        vocabulary: the tokenizer's size; the model's padding columns beyond it never enter a softmax.
        max_logits: the most logits (rows x vocabulary) that exist at one time.
        dtype: the type of the forward pass; see `tgpo.models.loading.precision`.
        recompute: whether to use gradient checkpointing, where the backward pass runs each block again.
    """

    def __init__(
        self, model: PreTrainedModel, vocabulary: int, max_logits: int, dtype: str = "float32", recompute: bool = False
    ) -> None:
        super().__init__()
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.recompute = recompute
        self.model: Any = model  # transformers' annotations do not know its own decoders and heads
        self.vocabulary, self.dtype = vocabulary, dtype
        self.rows_per_chunk = max(1, max_logits // vocabulary)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @torch.no_grad()
    def answer(self, tokens: TokenBatch, query: TeacherQuery, adapters: bool = True) -> dict[str, Tensor]:
        """Returns what `query` requests, as a teacher does (`tgpo.functional.head.answer_query`).

        Args:
            adapters: False leaves the adapters out, which gives the student as it was before training.
        """
        # through `forward`, because it is there that a sharded module gathers its weights
        with without_adapters(self.model) if not adapters else nullcontext():
            return self(tokens, query=query)

    def head(self, adapters: bool = True) -> Head:
        """Returns the output head with a copy of its weights, without gradient, in the type that it multiplies in.

        All processes call it together.
        """
        weight_VH = head_weight(self.model, adapters)
        copy_VH = weight_VH.bfloat16() if self.dtype == "bfloat16" else weight_VH.clone()
        return partial(nn.functional.linear, weight=copy_VH)

    def forward(
        self,
        tokens: TokenBatch,
        teacher: TeacherSignal | None = None,
        topk: int = 0,
        divergence: RowDivergence | None = None,
        query: TeacherQuery | None = None,
    ) -> Any:
        """Returns scores at every unmasked response position and 0 elsewhere, with gradient where it is enabled.

        Args:
            teacher: the student is also scored at the tokens that this signal names.
            topk: how many of the student's own best tokens to return.
            divergence: of the two complete distributions; needs the teacher's hidden states and head.
            query: answer this instead; see `answer`.
        """
        with precision(self.device, self.dtype), self._recomputing():
            if query is not None:
                return answer_in_one_pass(self.model, tokens, query, self.vocabulary, self.rows_per_chunk)
            return self._scores(tokens, teacher or TeacherSignal(), topk, divergence)

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Sets the blocks' training flag during a pass with gradient. transformers recomputes blocks only in training
        mode, which would also enable dropout: the flag is set on the blocks, not on their submodules, and is off while
        they decode."""
        blocks = self.model.get_decoder().layers if self.recompute and torch.is_grad_enabled() else []
        for block in blocks:
            block.training = True
        try:
            yield
        finally:
            for block in blocks:
                block.training = False

    def _scores(
        self, tokens: TokenBatch, teacher: TeacherSignal, topk: int, divergence: RowDivergence | None
    ) -> StudentScores:
        joined, picked = join(tokens), tokens.mask_BT > 0
        hidden_BSH = self.model.get_decoder()(joined.ids_BS, use_cache=False).last_hidden_state
        against = None
        if divergence is not None:
            assert teacher.hidden_BTH is not None and teacher.head is not None
            against = Against(divergence, teacher.hidden_BTH[picked], teacher.head)
        scores = score_hidden(
            self.model.get_output_embeddings(),
            hidden_BSH[joined.row_N, joined.position_N],
            joined.token_N,
            teacher.named_ids(picked),
            topk,
            self.vocabulary,
            self.rows_per_chunk,
            against,
        )
        return student_scores(scores, tokens.mask_BT, teacher)
