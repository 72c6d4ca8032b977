"""Weights as pure functions of the step k = 1, 2, ... (one rollout batch each)."""

from __future__ import annotations

import math


def linear_decay(step: int, start: float, decrement: float, floor: float) -> float:
    """`max(start - (k-1) * decrement, floor)`; TGPO arXiv 2605.13230."""
    return max(start - (step - 1) * decrement, floor)


def learning_rate(step: int, peak: float, warmup: int, total: int, kind: str) -> float:
    """`peak * k / warmup` during warm-up; then constant, or decaying to 0 just after step `total` (linear, cosine)."""
    if step < warmup:
        return peak * (step / warmup)
    progress = (step - warmup) / max(total + 1 - warmup, 1)
    if kind == "linear":
        return peak * (1 - progress)
    if kind == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak


def warmup_then_cosine(step: int, peak: float, valley: float, warmup: int, decay: int) -> float:
    """Rises to `peak` in `warmup` steps, then falls by a cosine to `valley` in `decay` steps, where it stays.

    The first step is k = 1, and already has one part of the rise. Source: CHORD, arXiv 2508.11408, and its code.
    """
    if step <= warmup:
        return peak * step / warmup
    if step > warmup + decay:
        return valley
    return valley + (peak - valley) * 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / decay))


def dual_ascent(weight: float, value: float, budget: float, rate: float) -> float:
    """`max(0, weight + rate * (value - budget))`: a dual-ascent step for the constraint `value <= budget`, of which
    `weight` is the dual variable."""
    return max(0.0, weight + rate * (value - budget))
