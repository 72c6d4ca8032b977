"""No privileged text: the teacher reads the problem alone."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import PROBLEM
from tgpo.types.problem import STRICT, Answered


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoContext:
    """The teacher's user turn is the problem, as the student's is; its template and system turn may still differ."""

    template = PROBLEM
    quotes_a_response = False
    needs_rewards = False

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        return [""] * len(answered)

    def remedy(self) -> str:
        return ""
