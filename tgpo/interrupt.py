"""SIGINT and SIGTERM: the first asks the run to stop after this step, a second SIGINT stops it at once."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self


class Interrupt:
    """A context in which the first signal sets `requested` and gives the next its default effect."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._before = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
