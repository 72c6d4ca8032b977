"""Without privileged text the teacher reads the problem."""

from __future__ import annotations

from tests.contexts.batch import BATCH
from tgpo.contexts.none import NoContext


def test_every_response_is_scored_after_its_problem_alone():
    assert NoContext().texts(BATCH) == [""] * 6
    assert NoContext().template == "{problem}"
