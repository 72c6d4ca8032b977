"""Converts rollouts to the tensors of a batch: prompts padded on the left, responses on the right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Rollout


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Returns ids and mask `[B,P]`, padded on the left."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(real, dtype=torch.long)


def pad(rollouts: Sequence[Rollout], pad_id: int) -> TokenBatch:
    """Returns the batch of these rollouts; its mask covers each response including its EOS."""
    prompt_BP, prompt_mask_BP = left_pad([rollout.prompt_ids for rollout in rollouts], pad_id)
    width = max(len(rollout.response_ids) for rollout in rollouts)
    response_BT = torch.full((len(rollouts), width), pad_id)
    mask_BT = torch.zeros(response_BT.shape)
    for row, rollout in enumerate(rollouts):
        length = len(rollout.response_ids)
        response_BT[row, :length] = torch.tensor(rollout.response_ids)
        mask_BT[row, :length] = 1
    return TokenBatch(prompt_BP, prompt_mask_BP, response_BT, mask_BT)


def pad_logprobs(rollouts: Sequence[Rollout], mask_BT: Tensor) -> Tensor:
    """Returns the sampler's log-probabilities on the grid of `mask_BT`; 0 at padding and for demonstrations."""
    logprobs_BT = torch.zeros(mask_BT.shape)
    for row, rollout in enumerate(rollouts):
        if rollout.logprobs is not None:
            logprobs_BT[row, : len(rollout.logprobs)] = torch.tensor(rollout.logprobs)
    return logprobs_BT.to(mask_BT.device)
