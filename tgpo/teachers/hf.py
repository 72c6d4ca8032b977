"""A Hugging Face teacher in this process, run over sequences of like length at a time."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from tgpo.functional.batching import by_token_budget
from tgpo.functional.scoring import topk_hidden
from tgpo.functional.sequence import join, scatter
from tgpo.models import load_model
from tgpo.types import TeacherSignal, TokenBatch


class HFTeacher:
    """The `hf` teacher backend.

    Args:
        vocabulary: the size of the tokenizer it shares with the student; padding columns beyond it are dropped.
        max_logits: the most logits (rows x vocabulary) that exist at one time.
        max_tokens: the most tokens of one forward pass, padding included.
    """

    def __init__(self, model: PreTrainedModel, vocabulary: int, max_logits: int, max_tokens: int) -> None:
        self.model: Any = model
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self.rows_per_chunk = max(1, max_logits // vocabulary)

    @torch.no_grad()
    def score(self, tokens: TokenBatch, topk: int) -> TeacherSignal:
        batch, width = tokens.response_BT.shape
        sampled_BT = torch.zeros(batch, width, device=self.model.device)
        ids_BTK = torch.zeros(batch, width, topk, dtype=torch.long, device=self.model.device)
        logprobs_BTK = torch.zeros(batch, width, topk, device=self.model.device)
        for rows in by_token_budget(tokens.length_B, self.max_tokens):
            part = tokens.select(rows)
            joined = join(part)
            hidden_BSH = self.model.get_decoder()(joined.ids_BS, use_cache=False).last_hidden_state
            best = topk_hidden(
                self.model.get_output_embeddings(),
                hidden_BSH[joined.row_N, joined.position_N],
                joined.token_N,
                topk,
                self.vocabulary,
                self.rows_per_chunk,
            )
            used = part.mask_BT.shape[1]
            sampled_BT[rows, :used] = scatter(best.logprobs_N, part.mask_BT)
            ids_BTK[rows, :used] = scatter(best.ids_NK, part.mask_BT)
            logprobs_BTK[rows, :used] = scatter(best.topk_logprobs_NK, part.mask_BT)
        return TeacherSignal(sampled_BT, ids_BTK, logprobs_BTK) if topk else TeacherSignal(sampled_BT)


def load(path: str, dtype: str, device: torch.device, vocabulary: int, max_logits: int, max_tokens: int) -> HFTeacher:
    """Called by the run for `teacher.backend=hf`."""
    return HFTeacher(load_model(path, dtype, device), vocabulary, max_logits, max_tokens)
