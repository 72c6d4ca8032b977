"""Several micro-batches at a time, a CPU core each: small matrices leave most of a core idle when they share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class ParallelMap:
    """Calls a function on each item, `at_once` of them at a time; with 1, as a plain loop would.

    Answers come in the items' order whoever ends first, so that sums over them do not depend on the machine's mood. No
    more than `at_once + 1` answers exist at a time. Torch works without Python's lock, and each thread with one core.
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, "pass", lambda: torch.set_num_threads(1)) if at_once > 1 else None

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        if self._pool is None:
            yield from map(function, items)
            return
        begun: deque[Future[Answer]] = deque()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # what the caller does with an answer would spin on the cores that the passes have
        try:
            for item in items:
                begun.append(self._pool.submit(function, item))
                if len(begun) > self.at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            torch.set_num_threads(threads)


SEQUENTIAL = ParallelMap()
