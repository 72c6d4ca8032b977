"""Measures the output head for every objective, forward and backward: vocabulary of 151,936, 8,192 tokens.

The loss is that of `benchmarks.head_memory`: hidden states and a head of a 1.5B model, float32 weights, forward passes
in bfloat16. The peak does not count what is held anyway (the head, its future gradient, the hidden states).
`gradient apart` is the distance from the gradient over all logits at once by autograd alone, in float32 on fewer
tokens.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.models import VOCABULARY
from benchmarks.gpu.setting import Record, Setting, clocked, forget_peak, held_bytes, peak_bytes, tried
from benchmarks.head_memory import OBJECTIVES, Given, batch_for, gradient_difference, our_loss
from tgpo.config.compose import request_from

LENGTH, WIDTH, MAX_LOGITS = 8_192, 1_536, 134_217_728  # the last is that of conf/train/gpu.yaml


def measure(setting: Setting, record: Record) -> None:
    for dtype in ("bfloat16", "float32"):
        for name in setting.pick(OBJECTIVES, OBJECTIVES[:2]):
            forget_peak(setting.device)
            record.row(objective=name, dtype=dtype, **tried(head, setting, name, dtype))


def head(setting: Setting, name: str, dtype: str) -> dict[str, Any]:
    device = setting.device
    length, width, vocabulary = setting.pick((LENGTH, WIDTH, VOCABULARY), (32, 16, 128))
    objective = request_from([f"objective={name}"]).objective
    torch.manual_seed(0)
    with device:
        model, batch = Given(length, width, vocabulary), batch_for(objective, length, width, vocabulary)
    held = held_bytes(device) + 4 * width * vocabulary
    seconds: list[float] = []
    for _ in range(3):
        model.zero_grad()
        with clocked(device, seconds):
            our_loss(objective, model, batch, setting.pick(MAX_LOGITS, 1024), dtype).backward()
    peak = peak_bytes(device) - held
    with device:
        apart = gradient_difference(objective, setting.pick(512, 16), width, vocabulary) if dtype == "float32" else None
    return {"seconds": min(seconds), "peak bytes above what is held": peak, "gradient apart": apart}
