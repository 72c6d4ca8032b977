"""Rollouts with the Hugging Face model that is being trained, or, if that is sharded, with a synchronised copy.

A group shares its prompt's prefill; finished responses leave the batch; keys and values are written into memory that
is reserved in advance. Each (response, position) has its own random number, so a response does not depend on which
others are still running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from tgpo.functional.scoring import inverse_cdf, widen
from tgpo.models.loading import load_model, master, precision
from tgpo.models.weights import copy_into
from tgpo.rollout.base import Sampling, encode_prompts
from tgpo.rollout.padding import left_pad
from tgpo.types.problem import Problem, Rollout

# All but cuDNN's kernel, which is planned again for each length of the cache: 1.5 ms of host time per layer and token
# on an H200, where the rest of a layer takes 0.9 ms.
DECODING_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
COMPACT_BELOW = 0.8  # drop finished rows when fewer than this fraction still run, so that copying the cache pays off


class RoomyLayer(DynamicLayer):
    """A cache layer that grows within reserved memory; `DynamicLayer` copies itself at every token."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._rooms: dict[str, Tensor] = {}

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.keys = self._append("keys", self.keys, key_states)
        self.values = self._append("values", self.values, value_states)
        return self.keys, self.values

    def _append(self, name: str, old: Any, new: Tensor) -> Tensor:
        used, total = old.shape[2], old.shape[2] + new.shape[2]
        room = self._rooms.get(name)
        if room is None or len(room) != len(new):  # the first tokens, or rows were dropped or repeated
            room = new.new_empty(*new.shape[:2], self.room, new.shape[3])
            room[:, :, :used] = old
            self._rooms[name] = room
        room[:, :, used:total] = new
        return room[:, :, :total]


class HFRollout:
    """The `hf` rollout engine.

    Args:
        model: the trainer's own model, or, with `source`, a copy of it.
        source: the trainer's model, whose weights `sync` copies into `model`; None where `model` is that model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        eos_ids: Sequence[int],
        dtype: str = "float32",
        source: PreTrainedModel | None = None,
    ) -> None:
        self.source = source
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self.eos = torch.tensor(list(eos_ids), device=model.device)
        self.policy_version = 0

    def sync(self, policy_version: int) -> None:
        if self.source is not None:
            copy_into(self.model, self.source)
        self.policy_version = policy_version

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]:
        prompts = encode_prompts(self.tokenizer, problems)
        with precision(self.model.device, self.dtype), sdpa_kernel(DECODING_KERNELS):
            ids_BT, logprobs_BT, length_B = decode(
                self.model, prompts, sampling, self.eos, len(self.tokenizer), int(self.tokenizer.pad_token_id or 0)
            )
        ended_B = torch.isin(ids_BT.gather(1, length_B[:, None] - 1)[:, 0], self.eos).tolist()
        rollouts = []
        for row, (ids, logprobs, length) in enumerate(
            zip(ids_BT.tolist(), logprobs_BT.tolist(), length_B.tolist(), strict=True)
        ):
            group = row // sampling.samples_per_problem
            rollouts.append(
                Rollout(
                    problem=problems[group],
                    group=group,
                    prompt_ids=prompts[group],
                    response_ids=tuple(ids[:length]),
                    logprobs=tuple(logprobs[:length]),
                    source="student",
                    finish_reason="eos" if ended_B[row] else "length",
                    policy_version=self.policy_version,
                )
            )
        return rollouts


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    eos: Tensor,
    vocabulary: int,
    pad_id: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns responses `[B,T]`, the model's log-probabilities of them (nats), and their lengths including EOS."""
    device, repeats, most = model.device, sampling.samples_per_problem, sampling.max_response_length
    prompt_BP, real_BP = (grid.to(device) for grid in left_pad(prompts, pad_id))
    batch, width = len(prompts) * repeats, prompt_BP.shape[1]
    generator = torch.Generator(device).manual_seed(sampling.seed)
    draws = sampling.out_of or repeats
    first, problems = sampling.first_problem, sampling.of_problems or len(prompts)
    uniform_BT = torch.rand(problems * draws, most, generator=generator, device=device, dtype=torch.float64)
    uniform_BT = uniform_BT.view(problems, draws, most)[first : first + len(prompts), :repeats].flatten(0, 1)
    ids_BT = torch.full((batch, most), pad_id, device=device)
    length_B = torch.full((batch,), most, device=device)

    cache: Any = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer(width + most) for _ in cache.layers]
    positions_BP = (real_BP.cumsum(1) - 1).clamp(min=0)
    hidden = model(
        prompt_BP, attention_mask=real_BP, position_ids=positions_BP, past_key_values=cache, logits_to_keep=1
    )
    logits_BV = hidden.logits[:, -1].repeat_interleave(repeats, 0)
    logprobs_BT = widen(logits_BV).new_zeros(batch, most)
    cache.batch_repeat_interleave(repeats)
    mask_BS = torch.cat([real_BP.repeat_interleave(repeats, 0), real_BP.new_ones(batch, most)], 1)
    prompt_length_B = real_BP.sum(1).repeat_interleave(repeats)
    alive_B = torch.arange(batch, device=device)  # the rows still in the batch
    running_B = torch.ones(batch, dtype=torch.bool, device=device)  # of those, the unfinished ones

    for t in range(most):
        token_B, logprob_B = sample(logits_BV[:, :vocabulary], uniform_BT[alive_B, t], sampling.temperature)
        rows = alive_B[running_B]
        ids_BT[rows, t], logprobs_BT[rows, t] = token_B[running_B], logprob_B[running_B]
        ended_B = running_B & torch.isin(token_B, eos)
        length_B[alive_B[ended_B]] = t + 1
        running_B = running_B & ~ended_B
        still_running = int(running_B.sum())
        if still_running == 0 or t + 1 == most:
            break
        if still_running < COMPACT_BELOW * len(alive_B):
            keep = running_B.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            token_B, alive_B, running_B = token_B[keep], alive_B[keep], running_B[keep]
        logits_BV = model(
            token_B[:, None],
            attention_mask=mask_BS[alive_B, : width + t + 1],
            position_ids=(prompt_length_B[alive_B] + t)[:, None],
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
    return ids_BT, logprobs_BT, length_B


def sample(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Samples one token per row by inverting the cumulative distribution at `uniform_B`; greedy at temperature 0.

    Returns the tokens and their log-probabilities at temperature 1.
    """
    logprobs_BV = widen(logits_BV).log_softmax(-1)
    if temperature == 0:
        token_B = logprobs_BV.argmax(-1)
    else:
        token_B = inverse_cdf(
            logprobs_BV if temperature == 1 else (logprobs_BV / temperature).log_softmax(-1), uniform_B
        )
    return token_B, logprobs_BV.gather(1, token_B[:, None])[:, 0]


def load(
    path: str,
    model: PreTrainedModel,
    tokenizer: Any,
    eos_ids: Sequence[int],
    dtype: str,
    sharded: bool,
    replaced: Mapping[str, Any] | None = None,
) -> HFRollout:
    """Called by the run for `rollout.backend=hf`. A sharded model cannot decode, so each process then gets a complete
    copy."""
    if not sharded:
        return HFRollout(model, tokenizer, eos_ids, dtype)
    copy = load_model(path, master(dtype), model.device, replaced=replaced)
    return HFRollout(copy, tokenizer, eos_ids, dtype, source=model)
