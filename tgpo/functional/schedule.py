"""Weights as pure functions of the step k = 1, 2, ... (one rollout batch each)."""

from __future__ import annotations


def linear_decay(step: int, start: float, decrement: float, floor: float) -> float:
    """`max(start - (k-1) * decrement, floor)`; TGPO arXiv 2605.13230."""
    return max(start - (step - 1) * decrement, floor)


def warmup(step: int, peak: float, steps: int) -> float:
    """`peak * min(1, k / steps)`: linear, reaching the peak at step `steps`; constant when `steps` is 0."""
    return peak if steps == 0 else peak * min(1.0, step / steps)
