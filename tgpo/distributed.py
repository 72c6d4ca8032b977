"""Several processes under `torchrun`: which one this is, and how they hand round what they have.

With one process nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tgpo.errors import RequestError, StoppedError

PATIENCE = timedelta(hours=2)  # processes wait for one another while the slowest share of a batch is rolled out

T = TypeVar("T")


def start() -> None:
    """Joins the processes that `torchrun` began; on CUDA each sees one device, its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """The process that prints, logs, rewards and writes."""
    return rank() == 0


def gather(value: T) -> list[T]:
    """Every process's value, in the order of their ranks, on every process."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def together(work: Callable[[], T]) -> list[T]:
    """What `work` gives on every process. Where it stops one of them, it stops all: none is left waiting."""
    result, error = attempted(work)
    answers = gather((result, error))
    stop_all([raised for _, raised in answers])
    return [answer for answer, _ in answers]  # pyright: ignore[reportReturnType]


def side_by_side(work: Callable[[], T]) -> T:
    """What `work` gives on this process, which is not handed round. Where it stops one of them, it stops all."""
    result, error = attempted(work)
    stop_all(gather(error))
    return result  # pyright: ignore[reportReturnType]


def attempted(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except (RequestError, StoppedError) as error:
        return None, error


def stop_all(errors: list[Exception | None]) -> None:
    for number, raised in enumerate(errors):
        if raised is not None:
            kind = StoppedError if isinstance(raised, StoppedError) else RequestError
            raise raised if number == 0 else kind(f"process {number}: {raised}")


def once(work: Callable[[], T]) -> T:
    """What `work` gives on the main process, which alone does it."""
    answers: list[Any] = together(lambda: work() if is_main() else None)
    return answers[0]


def shares(count: int) -> list[slice]:
    """Each process's part of `count` things, in order."""
    return [slice(r * count // size(), (r + 1) * count // size()) for r in range(size())]


def summed(value: Tensor) -> Tensor:
    """The sum of every process's `value`, in place."""
    if size() > 1:
        dist.all_reduce(value)
    return value
