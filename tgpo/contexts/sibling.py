"""A right response of the same group: what the student itself found, on another attempt."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import Privileged
from tgpo.types.problem import STRICT, Answered


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sibling(Privileged):
    """The next right response to the same problem, in the order of the group and around its end, never the response
    itself. Without another right one there is no text.

    Source: SDPO, arXiv 2601.20802, whose self-teacher reads a successful attempt of the group.
    """

    quotes_a_response = True
    needs_rewards = True

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        groups: dict[int, list[int]] = {}
        for row, each in enumerate(answered):
            groups.setdefault(each.group, []).append(row)
        found: list[str | None] = [None] * len(answered)
        for rows in groups.values():
            for place, row in enumerate(rows):
                others = [answered[i] for i in rows[place + 1 :] + rows[:place]]
                found[row] = next((other.response for other in others if other.reward > 0 and other.response), None)
        return found
