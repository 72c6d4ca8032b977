"""Compares FSDP2 over one process, as `torchrun` starts it, with a plain policy: update, checkpoint and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.models import random_model, request_for, scored_batch, state_of, trainer_for
from benchmarks.gpu.setting import Record, Setting, tried
from benchmarks.gpu.update import alone, rebuilt
from tgpo.build.sharded import shard
from tgpo.config.request import Request
from tgpo.models.loading import load_model
from tgpo.models.weights import full_tensor
from tgpo.training import checkpoint
from tgpo.types.batch import ScoredBatch


def measure(setting: Setting, record: Record) -> None:
    for dtype in ("float32", "bfloat16"):
        record.row(dtype=dtype, **tried(beside, setting, dtype))


def beside(setting: Setting, dtype: str) -> dict[str, object]:
    """Returns losses and gradient norms of three steps, plain and sharded, and how far the weights are apart then."""
    device = setting.device
    request = request_for(f"train.device={device.type}", f"train.dtype={dtype}", "train.lr=1e-4")
    batch = scored_batch(request.objective, 8, 8, 56, setting.pick(151_936, 1024), device)
    records: dict[str, Any] = {}
    ends = {}
    for name in ("plain", "sharded"):
        with alone(name == "sharded", setting):
            model = random_model(setting, "0.5B")
            trainer = trainer_for(model, request, batch, model.config.vocab_size)
            if name == "sharded":
                shard(trainer.policy, dtype)
                trainer = rebuilt(trainer, request)
            steps = [trainer.step(k)[0] for k in (1, 2, 3)]
            records[name] = [[s["loss/total"], s["gradient/norm"]] for s in steps]
            ends[name] = torch.cat([full_tensor(p).flatten() for p in trainer.parameters]).cpu()
            if name == "sharded":
                path = checkpoint.save(setting.scratch / dtype, 3, state_of(trainer))
                records["the next step"] = trainer.step(4)[0]["gradient/norm"]
                records["the same step, resumed"] = resumed(setting, request, batch, path, dtype)
            del trainer, model
    moved = (ends["plain"] - ends["sharded"]).norm() / ends["plain"].norm()
    return {**records, "weights apart": float(moved)}


def resumed(setting: Setting, request: Request, batch: ScoredBatch, path: Path, dtype: str) -> float:
    """Returns the gradient norm of step 4 after everything was loaded from the checkpoint and sharded again."""
    model = load_model(str(path / "model"), "float32", setting.device)
    trainer = trainer_for(model, request, batch, model.config.vocab_size)
    shard(trainer.policy, dtype)
    trainer = rebuilt(trainer, request)
    checkpoint.restore(path, trainer.policy, trainer.optimizer, trainer.objective)
    return float(trainer.step(4)[0]["gradient/norm"])
