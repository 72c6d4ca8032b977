"""Processes several micro-batches in parallel, one CPU core each: one pass over small matrices cannot use all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class ParallelMap:
    """Calls a function on up to `at_once` items at a time; with 1, in a plain loop without threads.

    Results come in input order, so that floating-point sums over them are reproducible. At most `at_once + 1` results
    exist at a time. Threads suffice because torch releases Python's lock; each thread uses one core.
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, "pass", lambda: torch.set_num_threads(1)) if at_once > 1 else None

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        if self._pool is None:
            yield from map(function, items)
            return
        pending: deque[Future[Answer]] = deque()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the caller's own work on a result must not take the cores that the passes use
        try:
            for item in items:
                pending.append(self._pool.submit(function, item))
                if len(pending) > self.at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            torch.set_num_threads(threads)


SEQUENTIAL = ParallelMap()
