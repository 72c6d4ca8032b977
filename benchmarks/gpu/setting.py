"""What the phases share: the device, the sizes, the measurement of time and memory, and the file for the results."""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"


@dataclass(frozen=True)
class Setting:
    """Where a phase runs. `toy` is the rehearsal: the same code at sizes that take a CPU seconds."""

    device: torch.device
    toy: bool
    folder: Path  # the JSON goes here
    scratch: Path  # runs and checkpoints go here, and are not kept

    def pick(self, real: Any, toy: Any) -> Any:
        return toy if self.toy else real


class Record:
    """Writes `gpu-PHASE.json` after every row, so that a phase that is cut off keeps the rows it has measured."""

    def __init__(self, setting: Setting, phase: str) -> None:
        self.path = setting.folder / f"gpu-{phase}.json"
        self.content: dict[str, Any] = {"phase": phase, **machine(setting), "rows": []}
        self._write()

    def row(self, **values: Any) -> None:
        self.content["rows"].append(values)
        print(json.dumps(values), flush=True)
        self._write()

    def note(self, **values: Any) -> None:
        self.content |= values
        print(json.dumps(values), flush=True)
        self._write()

    def _write(self) -> None:
        aside = self.path.with_suffix(".partial")
        aside.write_text(json.dumps(self.content, indent=1) + "\n")
        os.replace(aside, self.path)


def machine(setting: Setting) -> dict[str, Any]:
    on_gpu = setting.device.type == "cuda"
    packages = {p: version(p) for p in ("torch", "transformers", "vllm")}
    return {
        "device": torch.cuda.get_device_name(setting.device) if on_gpu else platform.machine(),
        "rehearsal": setting.toy,
        "versions": {"python": platform.python_version(), **{k: v for k, v in packages.items() if v}},
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def wait(device: torch.device) -> None:
    """Waits until the device has done all its work: a clock read earlier measures only the time to queue it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def clocked(device: torch.device, into: list[float]) -> Iterator[None]:
    wait(device)
    started = time.perf_counter()
    yield
    wait(device)
    into.append(time.perf_counter() - started)


def forget_peak(device: torch.device) -> None:
    """Resets the peak, after freeing what the previous measurement left, which would count into the next peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Returns the most bytes that tensors held at one time; on a CPU the process's own peak, which only grows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes(device: torch.device) -> int:
    """Returns the bytes that tensors hold now; on a CPU the process's peak."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else peak_bytes(device)


def matrix_peak(setting: Setting) -> float:
    """Returns the operations per second of a large bfloat16 product of random matrices on this device, in this run: the
    fastest of several, since clock rates vary."""
    size, device = setting.pick(8192, 256), setting.device
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds: list[float] = []
    for _ in range(12):
        with clocked(device, seconds):
            left @ right
    return 2 * size**3 / min(seconds)


def tried(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Returns what `work` measured, or how it failed: the next shape is measured even where one does not fit."""
    try:
        return work(*arguments)
    except torch.OutOfMemoryError as error:
        return {"failed": "out of memory: " + str(error).split(".")[0]}
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
