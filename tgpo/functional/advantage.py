"""Group-relative advantages: a rollout's reward relative to those of the other rollouts of its prompt."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

STD_EPSILON = 1e-6
Mask = Literal["none", "incorrect", "unsolved_group"]


def group_index(group_B: Tensor) -> tuple[Tensor, int]:
    """Returns a dense group number `0..G-1` for each sequence, and G, from any integer labels."""
    labels, index_B = group_B.unique(return_inverse=True)
    return index_B, len(labels)


def group_mean(values_B: Tensor, group_B: Tensor) -> Tensor:
    """Returns each sequence's group mean, `[B]`."""
    index_B, groups = group_index(group_B)
    sums = values_B.new_zeros(groups).index_add_(0, index_B, values_B)
    counts = values_B.new_zeros(groups).index_add_(0, index_B, torch.ones_like(values_B))
    return (sums / counts)[index_B]


def group_advantage(reward_B: Tensor, group_B: Tensor, *, normalize_std: bool) -> Tensor:
    r"""Returns `A_i = R_i - mean_group(R)`, divided by `std_group(R) + 1e-6` if `normalize_std`.

    The standard deviation is the unbiased one (n-1), as in the public GRPO implementations. A group of one, and a
    group whose rewards are all equal, has advantage 0 exactly.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2; without std: Dr. GRPO, arXiv 2503.20783.
    """
    index_B, groups = group_index(group_B)
    centred_B = reward_B - group_mean(reward_B, group_B)
    lowest, highest = (
        reward_B.new_zeros(groups).scatter_reduce_(0, index_B, reward_B, how, include_self=False)
        for how in ("amin", "amax")
    )
    # the mean of n equal rewards can differ from them by rounding, which the division by 1e-6 would turn into a signal
    centred_B = centred_B.masked_fill((lowest == highest)[index_B], 0.0)
    if not normalize_std:
        return centred_B
    squares = reward_B.new_zeros(groups).index_add_(0, index_B, centred_B.square())
    counts = reward_B.new_zeros(groups).index_add_(0, index_B, torch.ones_like(reward_B))
    std = (squares / (counts - 1).clamp(min=1)).sqrt()
    return centred_B / (std[index_B] + STD_EPSILON)


def guided(mask: Mask, reward_B: Tensor, group_B: Tensor) -> Tensor:
    """Returns 1 for the sequences that a teacher's term applies to and 0 for the others, `[B]`: all of them, those with
    reward 0, or those of prompts that no rollout solved."""
    if mask == "incorrect":
        return (reward_B == 0).to(reward_B.dtype)
    if mask == "unsolved_group":
        return (group_mean(reward_B, group_B) == 0).to(reward_B.dtype)
    return torch.ones_like(reward_B)


def group_gate(reward_B: Tensor, group_B: Tensor) -> Tensor:
    """Returns `4 p (1 - p)` for each sequence, p its group's mean reward: 1 where half are right, 0 where all or none.

    For rewards in [0, 1]. It is the variance of a group's reward, scaled to [0, 1]. SSOPD, arXiv 2605.17497, weights
    prompts so as well.
    """
    mean_B = group_mean(reward_B, group_B)
    return 4 * mean_B * (1 - mean_B)
