"""The row's solution, and none where it is missing or blank."""

from __future__ import annotations

import pytest

from tests.contexts.batch import BATCH
from tgpo.contexts.solution import Solution

TEMPLATE = "{problem} {context}"


def test_each_response_gets_that_of_its_row():
    assert Solution(template=TEMPLATE).texts(BATCH) == ["way to a", "way to a", None, None, "way to c", "way to c"]


def test_another_column_can_hold_it():
    assert Solution(template=TEMPLATE, column="hint").texts(BATCH)[:3] == ["look at a", "look at a", "look at b"]
    assert "+task.extra_columns.worked=COLUMN" in Solution(template=TEMPLATE, column="worked").remedy()


@pytest.mark.parametrize("template", ["{problem}", "{context}", "solve it"])
def test_a_template_without_a_place_is_refused(template):
    with pytest.raises(ValueError, match=r"has no place for \{"):
        Solution(template=template)
