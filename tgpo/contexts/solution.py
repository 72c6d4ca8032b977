"""The reference solution of the problem."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import FromTheRow
from tgpo.types.problem import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Solution(FromTheRow):
    """The worked solution that the row holds. Source: OPSD, arXiv 2601.18734; SDFT, arXiv 2601.19897, with a
    demonstration in its place."""

    column: str = "solution"
