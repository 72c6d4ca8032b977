"""SIGINT and SIGTERM: the first asks the run to stop after this step, a second SIGINT stops it at once.

A second SIGTERM says what the first did: schedulers and torchrun both send it to the processes of a job.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Self

ECHO_SECONDS = 1.0  # of several processes, a SIGINT so soon after the first is torchrun's, passing on the terminal's


def take_sigterm() -> None:
    """Outside of `Interrupt` SIGTERM ends the process as Ctrl-C does: by an exception, so that the run can say so."""
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
