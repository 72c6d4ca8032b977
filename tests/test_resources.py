"""What a run holds does not grow with its steps: memory, file handles, threads."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.compose import composed
from tgpo.config.check import check
from tgpo.models.loading import TINY_ROOT, load_tokenizer
from tgpo.runs.directory import RunDirectory
from tgpo.training.run import train

STEPS, WARM_UP, EVERY = 2_000, 500, 50
MOST_BLOCKS = 5  # a step: Python objects of up to 512 bytes; a record of a step is forty
BOUND = 1.0  # KiB a step, of the issue; a forgotten record of a step is 2, a forgotten gradient of this model 70


class Held(NamedTuple):
    """Of this process. Memory is what malloc has handed out and not been given back, which is free of the noise of how
    many pages the allocator keeps; and the anonymous pages once it was told to keep none."""

    step: int
    allocated: float  # KiB
    resident: float  # KiB
    blocks: int  # of Python's own allocator
    handles: int
    threads: int


class MallInfo(ctypes.Structure):
    """glibc's mallinfo2(3): all fields are size_t."""

    NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]


def held(step: int) -> Held:
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = MallInfo
    libc.malloc_trim(ctypes.c_size_t(0))
    info = libc.mallinfo2()
    (resident,) = (int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x)
    counts = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    # mallinfo2 counts the main arena alone; large tensors are mapped, small objects are Python's own and in `resident`
    return Held(step, (info.uordblks + info.hblkhd) / 1024, float(resident), *counts)


def slope(samples: list[Held], field: str) -> float:
    """What comes to be held with each step, by least squares."""
    return float(np.polyfit([s.step for s in samples], [getattr(s, field) for s in samples], 1)[0])


@pytest.fixture
def minute(tmp_path) -> Path:
    """A student of one layer and 5,000 weights, with the teacher's tokenizer: what is left of a step is the loop."""
    config = AutoConfig.from_pretrained(TINY_ROOT / "teacher")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
             "num_key_value_heads": 1, "head_dim": 16, "layer_types": ["full_attention"]}  # fmt: skip
    config.update(small)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "minute")
    load_tokenizer("tiny:teacher").save_pretrained(tmp_path / "minute")
    return tmp_path / "minute"


@pytest.mark.long
def test_memory_handles_and_threads_are_flat_over_2000_steps(minute, tmp_path, monkeypatch):
    """The run itself with all it writes: records, rollouts, status, evaluations and checkpoints."""
    samples: list[Held] = []
    status = RunDirectory.status

    def measured(self: RunDirectory, state, step: int, reason: str | None = None) -> None:
        status(self, state, step, reason)
        if state == "running" and step >= WARM_UP and step % EVERY == 0:
            samples.append(held(step))

    monkeypatch.setattr(RunDirectory, "status", measured)
    tiny = ["rollout.prompts_per_batch=2", "rollout.group_size=2", "rollout.max_response_length=3",
            "task.eval_two_terms=2", "task.eval_more_terms=2",
            f"student.path={minute}", f"teacher.path={minute}"]  # fmt: skip
    often = [f"train.steps={STEPS}", "train.checkpoint_every=100", "eval.every=100", "metrics.rollout_samples_every=1"]
    with ExitStack() as closing:
        train(check(composed(*tiny, *often, f"output_dir={tmp_path / 'run'}")), tmp_path / "run", None, closing)
    assert [s.step for s in samples] == list(range(WARM_UP, STEPS + 1, EVERY))
    print({name: round(slope(samples, name), 3) for name in ("allocated", "resident", "blocks")})
    assert slope(samples, "allocated") < BOUND
    assert slope(samples, "resident") < BOUND
    first, last = samples[0], samples[-1]
    assert slope(samples, "blocks") < MOST_BLOCKS
    assert last.handles == first.handles
    assert last.threads == first.threads


@pytest.mark.long
@pytest.mark.parametrize("what", ["tensors", "objects"])
def test_a_leak_is_seen(what):
    """Two KiB a step, of torch's memory or of Python's: what the bound above is to catch."""
    samples, kept = [], []
    for step in range(STEPS // 2):
        kept.append(torch.zeros(512) if what == "tensors" else [float(step + i) for i in range(50)])
        if step % EVERY == 0:
            samples.append(held(step))
    assert slope(samples, "resident") > BOUND or slope(samples, "blocks") > MOST_BLOCKS
    assert len(kept) == STEPS // 2


@pytest.mark.long
def test_nothing_kept_is_no_leak():
    samples = []
    for step in range(STEPS // 2):
        torch.zeros(512).add_(1)
        if step % EVERY == 0:
            samples.append(held(step))
    assert abs(slope(samples, "allocated")) < BOUND
    assert abs(slope(samples, "resident")) < BOUND
    assert abs(slope(samples, "blocks")) < MOST_BLOCKS
