"""Which sequences share a forward pass."""

from __future__ import annotations

import torch
from torch import Tensor


def micro_batches_per_rank(lengths_B: Tensor, max_tokens: int, processes: int) -> list[list[Tensor]]:
    """Parts for each of several processes, which get sequences in turn, longest first; empty parts make up the number.

    A sharded model's passes are made by all processes together, so all need as many.
    """
    order = torch.argsort(lengths_B, descending=True, stable=True)
    plans = [
        [rows[part] for part in by_token_budget(lengths_B[rows], max_tokens)]
        for rows in (order[process::processes] for process in range(processes))
    ]
    most = max(map(len, plans))
    return [plan + [order[:0]] * (most - len(plan)) for plan in plans]


def by_token_budget(lengths_B: Tensor, max_tokens: int) -> list[Tensor]:
    """Row indices in parts of like length: longest first, each part at most `max_tokens` with its padding.

    A sequence longer than the budget is a part of its own.
    """
    order = torch.argsort(lengths_B, descending=True, stable=True)
    parts: list[list[int]] = []
    width = 0
    for row, length in zip(order.tolist(), lengths_B[order].tolist(), strict=True):
        if not parts or (len(parts[-1]) + 1) * width > max_tokens:
            parts.append([])
            width = int(length)
        parts[-1].append(row)
    return [torch.tensor(part, device=lengths_B.device) for part in parts]
