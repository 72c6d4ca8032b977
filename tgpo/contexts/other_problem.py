"""The control: the solution of another problem of the batch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from tgpo.contexts.base import FromTheRow
from tgpo.types.problem import STRICT, Answered


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OtherProblem(FromTheRow):
    """The solution that the row of the batch's next problem holds, around its end.

    It is text of the same kind and length that says nothing of the problem: what a teacher gains from it is not
    privilege but the format. Source: OP2SD, arXiv 2608.09228.
    """

    column: str = "solution"

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        problems = {each.problem.id: each.problem for each in answered}
        ids = list(problems)
        following = {ids[i - 1]: problems[ids[i]] for i in range(len(ids))} if len(ids) > 1 else {}
        swapped = [following.get(each.problem.id) for each in answered]
        return [other and (other.extra.get(self.column, "").strip() or None) for other in swapped]

    def remedy(self) -> str:
        return f"it needs rollout.prompts_per_batch of 2 or more; or {super().remedy()}"
