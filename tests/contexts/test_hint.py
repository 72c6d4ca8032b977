"""The row's hint."""

from __future__ import annotations

from tests.contexts.batch import BATCH
from tgpo.contexts.hint import Hint


def test_each_response_gets_that_of_its_row():
    expected = ["look at a", "look at a", "look at b", "look at b", None, None]
    assert Hint(template="{problem} {context}").texts(BATCH) == expected
