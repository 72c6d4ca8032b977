"""Isolates runs in the same process from each other."""

from __future__ import annotations

import contextlib
import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Restores what runs change in a process, however the run ends: random states, torch's settings, the environment.

    Peak memory is reset at the beginning, and the memory that the run held is freed at the end.
    """
    forget_peak_memory()
    environment = dict(os.environ)
    states: tuple[Any, Any, Any] = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # pyright: ignore[reportAttributeAccessIssue]
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def forget_peak_memory() -> None:
    """Resets the peak of memory, so that `memory/peak_bytes` is that of this run.

    Linux resets the peak of a process when 5 is written to its `clear_refs` (proc(5)).
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
