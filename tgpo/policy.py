"""The student's forward: tokens -> StudentScores, from hidden states and the output head, a chunk of rows at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tgpo.functional.scoring import score_hidden
from tgpo.functional.sequence import join, scatter
from tgpo.models import precision
from tgpo.types import StudentScores, TokenBatch


class Policy(nn.Module):
    """A causal language model that answers with per-token scores and never returns logits.

    One module with one forward, so that `fully_shard` can be applied to it and its blocks as they are.

    Args:
        vocabulary: the tokenizer's size; the model's padding columns beyond it never enter a softmax.
        max_logits: the most logits (rows x vocabulary) that exist at one time.
        dtype: of the forward pass; see `tgpo.models.precision`.
    """

    def __init__(self, model: PreTrainedModel, vocabulary: int, max_logits: int, dtype: str = "float32") -> None:
        super().__init__()
        self.model: Any = model  # transformers' annotations do not know its own decoders and heads
        self.vocabulary, self.dtype = vocabulary, dtype
        self.rows_per_chunk = max(1, max_logits // vocabulary)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, tokens: TokenBatch, topk_ids_BTK: Tensor | None = None, own_topk: int = 0) -> StudentScores:
        """Scores at every unmasked response position, 0 elsewhere; with gradient where it is enabled.

        Args:
            topk_ids_BTK: the teacher's tokens whose log-probabilities are wanted too.
            own_topk: how many of the student's own best tokens to name.
        """
        with precision(self.device, self.dtype):
            return self._scores(tokens, topk_ids_BTK, own_topk)

    def _scores(self, tokens: TokenBatch, topk_ids_BTK: Tensor | None, own_topk: int) -> StudentScores:
        joined = join(tokens)
        hidden_BSH = self.model.get_decoder()(joined.ids_BS, use_cache=False).last_hidden_state
        nothing_N0 = joined.token_N.new_empty(len(joined.token_N), 0)
        scores = score_hidden(
            self.model.get_output_embeddings(),
            hidden_BSH[joined.row_N, joined.position_N],
            joined.token_N,
            nothing_N0 if topk_ids_BTK is None else topk_ids_BTK[tokens.mask_BT > 0],
            own_topk,
            self.vocabulary,
            self.rows_per_chunk,
        )
        return StudentScores(
            scatter(scores.logprobs_N, tokens.mask_BT),
            scatter(scores.entropy_N, tokens.mask_BT),
            scatter(scores.at_ids_NK, tokens.mask_BT) if topk_ids_BTK is not None else None,
            scatter(scores.own_topk_NK, tokens.mask_BT) if own_topk else None,
        )
