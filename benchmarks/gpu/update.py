"""Measures an optimiser update at the shapes of Qwen2.5, random weights: tokens per second, share of the peak, memory.

An update is four passes of 16,384 tokens and a step of AdamW, by the trainer of a run. The share is relative to the
fastest matrix product of this run; what gradient checkpointing recomputes counts as time, but not as operations.
`weights`: `autocast` casts float32 weights as they are used (as a run of one process does today); `sharded` is FSDP2's
mixed precision over one process; `bfloat16` has no float32 weights at all, a bound for every way of keeping them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu.models import (
    estimated_bytes,
    operations,
    random_model,
    request_for,
    scored_batch,
    trainer_for,
)
from benchmarks.gpu.setting import Record, Setting, clocked, forget_peak, matrix_peak, peak_bytes, tried
from tgpo.build.sharded import shard

PASS, PASSES, PROMPT = 16_384, 4, 128
Cell = tuple[str, int, str, bool, bool]  # model, tokens of a sequence, weights, checkpointing, compiled blocks
CELLS: list[Cell] = [
    ("1.5B", 4096, "sharded", False, False),
    ("1.5B", 4096, "autocast", True, False),
    ("1.5B", 4096, "autocast", False, False),
    ("1.5B", 4096, "sharded", True, False),
    ("1.5B", 4096, "bfloat16", False, False),
    ("1.5B", 1024, "sharded", True, False),
    ("1.5B", 8192, "sharded", True, False),
    ("0.5B", 4096, "autocast", True, False),
    ("0.5B", 4096, "autocast", False, False),
    ("1.5B", 4096, "sharded", True, True),
    ("1.5B", 4096, "sharded", False, True),
    ("1.5B", 1024, "autocast", True, False),
    ("1.5B", 8192, "autocast", True, False),
    ("1.5B", 4096, "bfloat16", True, False),
    ("0.5B", 4096, "sharded", False, False),
]
TOY: list[Cell] = [
    ("0.5B", 48, "autocast", True, False),
    ("0.5B", 48, "sharded", False, False),
    ("0.5B", 48, "bfloat16", False, False),
]


def measure(setting: Setting, record: Record) -> None:
    peak = matrix_peak(setting)
    record.note(matrix_product_tflops=peak / 1e12)
    for cell in setting.pick(CELLS, TOY):
        forget_peak(setting.device)
        named = dict(zip(("model", "length", "weights", "checkpointing", "compiled"), cell, strict=True))
        record.row(**named, **tried(update, setting, peak, *cell))
        torch.compiler.reset()


def update(
    setting: Setting, peak: float, name: str, length: int, weights: str, checkpointing: bool, compiled: bool
) -> dict[str, Any]:
    device, budget, prompt = setting.device, setting.pick(PASS, 192), setting.pick(PROMPT, 8)
    rows = PASSES * budget // length
    dtype = "float32" if weights == "bfloat16" else "bfloat16"  # bfloat16 weights need no cast
    request = request_for(
        f"train.dtype={dtype}", f"train.gradient_checkpointing={str(checkpointing).lower()}",
        f"train.device={device.type}", f"train.max_tokens_per_micro_batch={budget}",
    )  # fmt: skip
    model = random_model(setting, name, torch.bfloat16 if weights == "bfloat16" else torch.float32)
    estimated = estimated_bytes(model, request, rows, prompt, length - prompt)
    work = operations(model, [length] * rows)
    vocabulary = model.config.vocab_size
    batch = scored_batch(request.objective, rows, prompt, length - prompt, vocabulary, device)
    with alone(weights == "sharded", setting):
        trainer = trainer_for(model, request, batch, vocabulary)
        if weights == "sharded":
            shard(trainer.policy, "bfloat16")
            trainer = rebuilt(trainer, request)
        if compiled:
            for block in model.get_decoder().layers:
                block.compile()
        seconds: list[float] = []
        for step in range(1, setting.pick(4, 3)):
            with clocked(device, seconds):
                trainer.step(step)
    best, most = min(seconds[1:]), peak_bytes(device)
    result = {
        "first, seconds": seconds[0],
        "seconds": best,
        "tokens a second": rows * length / best,
        "share of the peak": work / best / peak,
        "peak bytes": most,
    }
    if weights == "autocast":  # the estimate is for a run of one process, which keeps its weights this way
        result |= {"estimated bytes": estimated, "peak / estimated": most / estimated}
    return result


def rebuilt(trainer: Any, request: Any) -> Any:
    """Returns a new trainer around the sharded policy: an optimiser keeps the parameters it was created with."""
    return type(trainer)(
        trainer.policy, request.objective, trainer.collector, request.options.train, request.options.metrics, 0
    )


@contextmanager
def alone(needed: bool, setting: Setting) -> Iterator[None]:
    """Provides a process group of one process, which FSDP2 requires."""
    if not needed:
        yield
        return
    backend = "nccl" if setting.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
