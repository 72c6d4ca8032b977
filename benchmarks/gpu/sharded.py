"""FSDP2 over one process, as `torchrun` would begin it: the update, a checkpoint and a resume beside one process's."""

from __future__ import annotations

import torch

from benchmarks.gpu.models import random_model, request_for, scored_batch, trainer_for
from benchmarks.gpu.setting import Record, Setting, tried
from benchmarks.gpu.update import alone, rebuilt
from tgpo import checkpoint
from tgpo.models import load_tokenizer
from tgpo.sharded import shard
from tgpo.weights import whole


def measure(setting: Setting, record: Record) -> None:
    for dtype in ("float32", "bfloat16"):
        record.row(dtype=dtype, **tried(beside, setting, dtype))


def beside(setting: Setting, dtype: str) -> dict[str, object]:
    """Losses, gradient norms and the weights after three steps, of a plain policy and a sharded one."""
    device = setting.device
    request = request_for(f"train.device={device.type}", f"train.dtype={dtype}", "train.lr=1e-4")
    batch = scored_batch(request.objective, 8, 8, 56, setting.pick(151_936, 1024), device)
    records, ends = {}, {}
    for name in ("plain", "sharded"):
        with alone(name == "sharded", setting):
            model = random_model(setting, "0.5B")
            trainer = trainer_for(model, request, batch, model.config.vocab_size)
            if name == "sharded":
                shard(trainer.policy, dtype)
                trainer = rebuilt(trainer, request)
            steps = [trainer.step(k)[0] for k in (1, 2, 3)]
            records[name] = [[s["loss/total"], s["gradient/norm"]] for s in steps]
            ends[name] = torch.cat([whole(p).flatten() for p in trainer.parameters]).cpu()
            if name == "sharded":
                folder = setting.scratch / dtype
                path = checkpoint.save(
                    folder, 3, trainer.policy, load_tokenizer("tiny:teacher"), trainer.optimizer, trainer.objective
                )
                before = trainer.step(4)[0]["gradient/norm"]
                checkpoint.restore(path, trainer.policy, trainer.optimizer, trainer.objective)
                records["after its own checkpoint"] = before
            del trainer, model
    moved = (ends["plain"] - ends["sharded"]).norm() / ends["plain"].norm()
    return {**records, "weights apart": float(moved)}
