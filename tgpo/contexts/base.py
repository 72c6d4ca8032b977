"""The protocol that every context follows, and the code that they share.

To add a context: a file here, a yaml with `_target_` and every default under `conf/teacher/context/`, a test. Nothing
is registered and no other file changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from tgpo.types.problem import STRICT, Answered

PROBLEM, CONTEXT = "{problem}", "{context}"


def has_both_places(template: str) -> str:
    for place in (PROBLEM, CONTEXT):
        if place not in template:
            raise ValueError(f"the template has no place for {place}, which stands for what the teacher reads")
    return template


Template = Annotated[str, AfterValidator(has_both_places)]


class Context(Protocol):
    """Finds the privileged text for each response of a rollout batch."""

    template: str  # the teacher's user turn; {problem} and {context} are replaced

    @property
    def quotes_a_response(self) -> bool:
        """Whether a text may be as long as a response of the student's."""
        ...

    @property
    def needs_rewards(self) -> bool:
        """Whether the texts depend on what the verifier said, so that none exist before there are responses."""
        ...

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        """Returns the text for each response of a batch; None where there is none. The teacher's term then leaves that
        response out. A pure function of the batch, so that a resumed run shows the teacher the same texts."""
        ...

    def remedy(self) -> str:
        """Returns what to do if there is no text for any problem, as the end of an error message."""
        ...


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Privileged:
    """What contexts with a text have in common: its place in the teacher's user turn."""

    template: Template

    quotes_a_response = False
    needs_rewards = False

    def remedy(self) -> str:
        return "choose another teacher.context"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromTheRow(Privileged):
    """A text that the row of the problem holds, `Problem.extra[column]`.

    A row in which it is missing or empty has none.
    """

    column: str

    def texts(self, answered: Sequence[Answered]) -> list[str | None]:
        return [each.problem.extra.get(self.column, "").strip() or None for each in answered]

    def remedy(self) -> str:
        return (
            f"name the column of the rows that holds it, as in '+task.extra_columns.{self.column}=COLUMN', or choose "
            "another teacher.context"
        )
