"""Decides which sequences share a forward pass."""

from __future__ import annotations

import torch
from torch import Tensor


def micro_batches_per_rank(lengths_B: Tensor, max_tokens: int, processes: int) -> list[list[Tensor]]:
    """Returns the micro-batches of each process. Sequences are assigned to the processes in turn, longest first.

    All processes run a sharded model's passes together, so all get the same number of micro-batches, some empty.
    """
    order = torch.argsort(lengths_B, descending=True, stable=True)
    plans = [
        [rows[part] for part in by_token_budget(lengths_B[rows], max_tokens)]
        for rows in (order[process::processes] for process in range(processes))
    ]
    most = max(map(len, plans))
    return [plan + [order[:0]] * (most - len(plan)) for plan in plans]


def by_token_budget(lengths_B: Tensor, max_tokens: int) -> list[Tensor]:
    """Returns row indices in parts of similar length, longest first, each of at most `max_tokens` including padding.

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
