"""The layout of a forward pass: prompt and response joined, padding on the right, and response tokens selected again.

With padding only on the right, a causal model needs no attention mask: no real position attends to padding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tgpo.types.batch import TokenBatch


class Joined(NamedTuple):
    """`ids_BS` to run the model on; `row_N`, `position_N` of the hidden state that predicts each response token."""

    ids_BS: Tensor
    row_N: Tensor
    position_N: Tensor
    token_N: Tensor


def join(tokens: TokenBatch) -> Joined:
    """Moves each prompt's left padding to the far right. N runs over the unmasked response tokens, row by row.

    The hidden state at position `s` predicts the token at `s + 1`: response token t of a prompt of length p is
    predicted at `p + t - 1`.
    """
    ids_BS = torch.cat([tokens.prompt_BP, tokens.response_BT], dim=1)
    prompt_B = tokens.prompt_mask_BP.sum(1).long()
    padding_B = tokens.prompt_BP.shape[1] - prompt_B
    columns_S = torch.arange(ids_BS.shape[1], device=ids_BS.device)
    ids_BS = ids_BS.gather(1, (columns_S + padding_B[:, None]) % ids_BS.shape[1])
    ids_BS = ids_BS[:, : int(tokens.length_B.max())]  # all further columns are padding in every row
    row_N, time_N = tokens.mask_BT.nonzero(as_tuple=True)
    return Joined(ids_BS, row_N, prompt_B[row_N] + time_N - 1, tokens.response_BT[row_N, time_N])


def scatter(values_N: Tensor, mask_BT: Tensor) -> Tensor:
    """Puts per-token values back on the `[B,T]` grid (with any trailing axes); masked positions are 0."""
    grid = values_N.new_zeros(*mask_BT.shape, *values_N.shape[1:])
    return grid.index_put(tuple(mask_BT.nonzero(as_tuple=True)), values_N)


def discounted_future(values_BT: Tensor, gamma: float) -> Tensor:
    """Returns `sum_{t'>t} gamma^(t'-t) values_t'` at each position, 0 at the last. Masked values have to be 0."""
    future_BT, beyond_B = torch.zeros_like(values_BT), torch.zeros_like(values_BT[:, 0])
    for t in range(values_BT.shape[1] - 2, -1, -1):
        beyond_B = gamma * (values_BT[:, t + 1] + beyond_B)
        future_BT[:, t] = beyond_B
    return future_BT
