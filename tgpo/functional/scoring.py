"""Log-probabilities from hidden states, a few rows of the vocabulary at a time.

No function here returns anything with a vocabulary axis, and none holds one for more rows than fit the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]  # hidden_NH -> logits_NV


class TokenScores(NamedTuple):
    """`logprobs_N` of the given tokens, `entropy_N`, `at_ids_NK` at the ids asked for (nats); `own_topk_NK` ids."""

    logprobs_N: Tensor
    entropy_N: Tensor
    at_ids_NK: Tensor
    own_topk_NK: Tensor


class TopK(NamedTuple):
    """`logprobs_N` of the given tokens; the `ids_NK` of highest probability with their `topk_logprobs_NK`."""

    logprobs_N: Tensor
    ids_NK: Tensor
    topk_logprobs_NK: Tensor


def score_logits(logits_NV: Tensor, tokens_N: Tensor, ids_NK: Tensor, own_topk: int = 0) -> TokenScores:
    """Exact scores of each row; float32 or wider whatever the logits are (bf16 softmax: gradient errors of 3-19 %)."""
    logits_NV = widen(logits_NV)
    lse_N = logits_NV.logsumexp(-1)
    logprobs_N = logits_NV.gather(-1, tokens_N[:, None])[:, 0] - lse_N
    at_ids_NK = logits_NV.gather(-1, ids_NK) - lse_N[:, None]
    probabilities_NV = torch.exp(logits_NV - lse_N[:, None])
    entropy_N = lse_N - (probabilities_NV * logits_NV).sum(-1)
    own_topk_NK = logits_NV.detach().topk(own_topk, dim=-1).indices
    return TokenScores(logprobs_N, entropy_N, at_ids_NK, own_topk_NK)


def topk_logits(logits_NV: Tensor, tokens_N: Tensor, k: int) -> TopK:
    """The sampled tokens' log-probabilities and the `k` best tokens of each row, best first."""
    logits_NV = widen(logits_NV)
    lse_N1 = logits_NV.logsumexp(-1, keepdim=True)
    best = logits_NV.topk(k, dim=-1)
    return TopK((logits_NV.gather(-1, tokens_N[:, None]) - lse_N1)[:, 0], best.indices, best.values - lse_N1)


def widen(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def score_hidden(
    head: Head,
    hidden_NH: Tensor,
    tokens_N: Tensor,
    ids_NK: Tensor,
    own_topk: int,
    vocabulary: int,
    rows_per_chunk: int,
) -> TokenScores:
    """`score_logits` of `head(hidden)`, chunk by chunk; the backward pass recomputes each chunk's logits.

    Args:
        vocabulary: logits beyond it are padding columns of the head and never enter a softmax.
        rows_per_chunk: the most rows whose logits exist at one time. One chunk is not recomputed.
    """

    def rows(hidden: Tensor, tokens: Tensor, ids: Tensor) -> TokenScores:
        return score_logits(head(hidden)[:, :vocabulary], tokens, ids, own_topk)

    if len(hidden_NH) <= rows_per_chunk:
        return rows(hidden_NH, tokens_N, ids_NK)
    chunks = zip(*(x.split(rows_per_chunk) for x in (hidden_NH, tokens_N, ids_NK)), strict=True)
    if torch.is_grad_enabled():
        parts = [checkpoint(rows, *chunk, use_reentrant=False) for chunk in chunks]
    else:
        parts = [rows(*chunk) for chunk in chunks]
    return TokenScores(*(torch.cat(part) for part in zip(*parts, strict=True)))


def topk_hidden(head: Head, hidden_NH: Tensor, tokens_N: Tensor, k: int, vocabulary: int, rows_per_chunk: int) -> TopK:
    """`topk_logits` of `head(hidden)`, chunk by chunk."""
    chunks = zip(hidden_NH.split(rows_per_chunk), tokens_N.split(rows_per_chunk), strict=True)
    parts = [topk_logits(head(hidden)[:, :vocabulary], tokens, k) for hidden, tokens in chunks]
    return TopK(*(torch.cat(part) for part in zip(*parts, strict=True)))
