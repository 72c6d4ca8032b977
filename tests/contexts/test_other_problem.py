"""The control: the solution of the next problem of the batch."""

from __future__ import annotations

from tests.contexts.batch import BATCH
from tgpo.contexts.other_problem import OtherProblem

OTHER = OtherProblem(template="{problem} {context}")


def test_the_next_problems_around_the_end():
    assert OTHER.texts(BATCH) == [None, None, "way to c", "way to c", "way to a", "way to a"]


def test_never_the_problems_own():
    assert OTHER.texts(BATCH[:2]) == [None, None]
    assert "rollout.prompts_per_batch of 2 or more" in OTHER.remedy()
