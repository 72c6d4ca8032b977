"""A checked request: the options, and the parts that are built straight from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tgpo.options import RunOptions


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request: the options, and the two parts that are built straight from the configuration.

    One is equal to itself alone, so that what is measured of it can be kept beside it.
    """

    options: RunOptions
    objective: Any
    task: Any
    resolved: dict[str, Any]
    benchmarks: tuple[Any, ...] = ()
