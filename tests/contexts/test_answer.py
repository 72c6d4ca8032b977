"""The right answer."""

from __future__ import annotations

from tests.contexts.batch import BATCH
from tgpo.contexts.answer import Answer


def test_each_response_gets_that_of_its_problem():
    texts = Answer(template="{problem} {context}").texts(BATCH)
    assert texts == [f"answer of {name}" for name in "aabbcc"]
