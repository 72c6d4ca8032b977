"""Rewards and response lengths of one rollout batch, under contract names. Averages over no responses are left out."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tgpo.types.problem import Rollout

REPETITION_RATIO = 0.25  # compressed to less than a quarter: the response repeats itself
REPETITION_MIN_BYTES = 64  # zlib's own overhead hides repetition in shorter texts


def reward_metrics(reward_B: Tensor, group_B: Tensor) -> dict[str, float]:
    """Returns statistics of the rewards. Only the student's own responses count, not demonstrations in their groups.

    `reward/solved_groups` is the fraction of groups with at least one right response; `reward/equal_groups` is the
    fraction of groups whose rewards are all equal, from which an objective that compares within a group learns nothing.
    """
    groups = [reward_B[group_B == group] for group in group_B.unique()]
    return {
        "reward/mean": reward_B.mean().item(),
        "reward/group_std": torch.stack([group.std(correction=0) for group in groups]).mean().item(),
        "reward/solved_groups": torch.stack([(group > 0).any().float() for group in groups]).mean().item(),
        "reward/equal_groups": torch.stack([(group == group[0]).all().float() for group in groups]).mean().item(),
    }


def length_metrics(
    rollouts: Sequence[Rollout], responses: Sequence[str], reward_B: Tensor, eos_ids: Sequence[int]
) -> dict[str, float]:
    """Returns statistics of the lengths, in tokens including EOS. An empty response has no token other than EOS."""
    length_B = torch.tensor([len(r.response_ids) for r in rollouts], dtype=torch.float32)
    right_B = reward_B.cpu() > 0
    metrics = {
        "response/length_mean": length_B.mean().item(),
        "response/length_p95": length_B.quantile(0.95).item(),
        "response/truncated_fraction": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
        "response/empty_fraction": sum(set(r.response_ids) <= set(eos_ids) for r in rollouts) / len(rollouts),
        "response/repetition_fraction": sum(map(repeats_itself, responses)) / len(responses),
    }
    if right_B.any():
        metrics["response/length_correct_mean"] = length_B[right_B].mean().item()
    if not right_B.all():
        metrics["response/length_incorrect_mean"] = length_B[~right_B].mean().item()
    return metrics


def repeats_itself(text: str) -> bool:
    """Returns whether zlib compresses the text to less than a quarter of its size."""
    data = text.encode()
    return len(data) >= REPETITION_MIN_BYTES and len(zlib.compress(data)) < REPETITION_RATIO * len(data)
