"""Measures tokens per second of the hf engine at 0.5B by batch size, with float32 weights (autocast) and bfloat16."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.models import random_model
from benchmarks.gpu.setting import Record, Setting, clocked, forget_peak, peak_bytes, tried
from tgpo.models.loading import precision
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import decode

PROMPT, GROUP = 64, 8


def measure(setting: Setting, record: Record) -> None:
    for weights in ("autocast", "bfloat16"):
        for prompts in setting.pick((16, 64, 128), (2,)):
            forget_peak(setting.device)
            record.row(weights=weights, rows=prompts * GROUP, **tried(rollouts, setting, weights, prompts))


def rollouts(setting: Setting, weights: str, prompts: int) -> dict[str, Any]:
    device, length = setting.device, setting.pick(256, 8)
    model = random_model(setting, "0.5B", torch.bfloat16 if weights == "bfloat16" else torch.float32)
    ids = [[(7 * i + j) % 1000 for j in range(PROMPT)] for i in range(prompts)]
    nothing_ends = torch.tensor([model.config.vocab_size + 1], device=device)
    seconds: list[float] = []
    with torch.no_grad(), precision(device, "bfloat16" if weights == "autocast" else "float32"):
        for new in (4, length):
            with clocked(device, seconds):
                decode(model, ids, Sampling(GROUP, 1.0, new, 0), nothing_ends, model.config.vocab_size, 0)
    tokens = prompts * GROUP * length
    return {"tokens": tokens, "seconds": seconds[1], "tokens a second": tokens / seconds[1],
            "milliseconds a token of each": 1e3 * seconds[1] / length, "peak bytes": peak_bytes(device)}  # fmt: skip
