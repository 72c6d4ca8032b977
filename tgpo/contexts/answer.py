"""The final answer, without the way to it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import Privileged
from tgpo.types.problem import STRICT, Answered


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Answer(Privileged):
    """The answer that the verifier compares with."""

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        return [each.problem.answer.strip() or None for each in answered]
