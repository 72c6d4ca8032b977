"""Handles SIGINT and SIGTERM: the first signal stops the run after the current step, a second SIGINT at once.

Further SIGTERMs have no effect, because a scheduler and torchrun may both send one to each process of a job.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Self

ECHO_SECONDS = 1.0  # with several processes, a SIGINT this soon after the first is the same one, forwarded by torchrun


def take_sigterm() -> None:
    """Makes SIGTERM outside of `Interrupt` raise KeyboardInterrupt, as Ctrl-C does, so that the run can report it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class Interrupt:
    """A context in which the first signal sets `requested`, and a SIGINT after it raises KeyboardInterrupt.

    Args:
        several: whether the run has several processes.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, several: bool = False) -> None:
        self.requested = False
        self._before = {}
        self._patience, self._first = ECHO_SECONDS if several else 0.0, 0.0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._first = True, now
        elif number == signal.SIGINT and now - self._first >= self._patience:
            raise KeyboardInterrupt
