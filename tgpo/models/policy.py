"""The student's forward pass: tokens -> StudentScores. The output head is applied to one chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tgpo.functional.head import Against, score_hidden
from tgpo.functional.scoring import student_scores
from tgpo.functional.sequence import join
from tgpo.models.loading import precision
from tgpo.types.batch import TokenBatch
from tgpo.types.scores import RowDivergence, StudentScores
from tgpo.types.teacher import TeacherSignal


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

    def forward(
        self,
        tokens: TokenBatch,
        teacher: TeacherSignal | None = None,
        topk: int = 0,
        divergence: RowDivergence | None = None,
    ) -> StudentScores:
        """Returns scores at every unmasked response position and 0 elsewhere, with gradient where it is enabled.

        Args:
            teacher: the student is also scored at the tokens that this signal names.
            topk: how many of the student's own best tokens to return.
            divergence: of the two complete distributions; needs the teacher's hidden states and head.
        """
        with precision(self.device, self.dtype), self._recomputing():
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
