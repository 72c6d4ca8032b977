"""The verifier's verdict on the very response that the teacher scores."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import Privileged
from tgpo.types.problem import STRICT, Answered


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Feedback(Privileged):
    """One text for right responses and one for wrong ones; `{answer}` in them is replaced by the right answer.

    `right: null` gives right responses no text, so that the teacher corrects wrong ones alone. Source: SDPO, arXiv
    2601.20802, where the feedback is that of the environment.
    """

    right: str | None
    wrong: str | None

    needs_rewards = True

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        return [self._verdict(each) for each in answered]

    def remedy(self) -> str:
        return "give teacher.context.wrong, or choose another teacher.context"

    def _verdict(self, each: Answered) -> str | None:
        text = self.right if each.reward > 0 else self.wrong
        return None if not text else text.replace("{answer}", each.problem.answer)
