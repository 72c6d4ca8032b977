"""The result of checking a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tgpo.options import RunOptions


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request: the options, and the objects that are built directly from the configuration.

    Requests compare by identity and are hashable, so that results can be cached by request.
    """

    options: RunOptions
    objective: Any
    task: Any
    context: Any
    resolved: dict[str, Any]
    benchmarks: tuple[Any, ...] = ()
