"""Reduces token losses to one number, over ALL tokens of an optimiser update.

The weights are known before the first micro-batch is run, so any split of the update into micro-batches, processes or
groups gives the same loss and the same gradient.
"""

from __future__ import annotations

from torch import Tensor

from tgpo.types.problem import Reduction


def token_weights(mask_BT: Tensor, reduction: Reduction, max_response_length: int) -> Tensor:
    """Returns weights `w_BT` such that the reduced loss is `sum(w_BT * loss_BT)`.

    - token: `m / sum(m)`
    - sequence: `m / (B * sum_t m)`: the mean over sequences of the mean over their tokens
    - constant: `m / (B * max_response_length)` (Dr. GRPO, arXiv 2503.20783)

    Args:
        mask_BT: float, 1 on trained tokens of the WHOLE update, 0 elsewhere. A sequence without any still counts in B.
        max_response_length: the cap on the response length; used by `constant` only.
    """
    sequences = mask_BT.shape[0]
    if reduction == Reduction.TOKEN:
        return mask_BT / mask_BT.sum().clamp(min=1)
    if reduction == Reduction.SEQUENCE:
        return mask_BT / mask_BT.sum(1, keepdim=True).clamp(min=1) / sequences
    return mask_BT / (sequences * max_response_length)


def reduce(values_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Returns `sum(w * x)`; where the weight is 0 the value is ignored, even if it is not finite."""
    return (weights_BT * values_BT.masked_fill(weights_BT == 0, 0.0)).sum()
