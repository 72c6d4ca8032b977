"""A hint: a part of the solution, or advice."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import FromTheRow
from tgpo.types.problem import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hint(FromTheRow):
    """The hint that the row holds."""

    column: str = "hint"
