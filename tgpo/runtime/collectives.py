"""Collective operations of the processes under `torchrun`. With a single process nothing is communicated.

A `RequestError` or `StoppedError` in one process is raised in all processes, so that none waits for another forever.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tgpo.errors import RequestError, StoppedError

PATIENCE = timedelta(hours=2)  # processes wait until the slowest share of a batch is rolled out

T = TypeVar("T")


def join_process_group() -> None:
    """Joins the process group of the processes that `torchrun` started; on CUDA each sees only its own device."""
    if torch.cuda.is_available():
        torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def leave_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def gather(value: T) -> list[T]:
    """Returns the values of all processes, in the order of their ranks, on every process."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def run_on_all_ranks(work: Callable[[], T]) -> list[T]:
    """Runs `work` on every process and returns all results, in the order of the ranks, on every process."""
    result, error = attempt(work)
    answers = gather((result, error))
    raise_on_all_ranks([raised for _, raised in answers])
    return [answer for answer, _ in answers]  # pyright: ignore[reportReturnType]


def run_beside_others(work: Callable[[], T]) -> T:
    """Runs `work` on every process and returns its result on this process; only errors are communicated."""
    result, error = attempt(work)
    raise_on_all_ranks(gather(error))
    return result  # pyright: ignore[reportReturnType]


def run_on_main(work: Callable[[], T]) -> T:
    """Runs `work` on the main process alone and returns its result on every process."""
    answers: list[Any] = run_on_all_ranks(lambda: work() if rank() == 0 else None)
    return answers[0]


def attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Runs `work` and returns its result, or the RequestError or StoppedError that it raised."""
    try:
        return work(), None
    except (RequestError, StoppedError) as error:
        return None, error


def raise_on_all_ranks(errors: list[Exception | None]) -> None:
    """Raises the first error; if it is not that of process 0, its message names the process."""
    for number, raised in enumerate(errors):
        if raised is not None:
            kind = StoppedError if isinstance(raised, StoppedError) else RequestError
            raise raised if number == 0 else kind(f"process {number}: {raised}")


def slices_per_rank(count: int) -> list[slice]:
    """Returns each process's slice of `count` items, in the order of the ranks."""
    return [slice(r * count // size(), (r + 1) * count // size()) for r in range(size())]


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sums `value` over all processes, in place, and returns it."""
    if size() > 1:
        dist.all_reduce(value)
    return value
