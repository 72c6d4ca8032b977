"""A right response of the same group, never the response itself."""

from __future__ import annotations

from dataclasses import replace

from tests.contexts.batch import BATCH, A
from tgpo.contexts.sibling import Sibling
from tgpo.types.problem import Answered

SIBLING = Sibling(template="{problem} {context}")


def test_the_next_right_one_of_the_group():
    assert SIBLING.texts(BATCH) == [None, "a, right", "b, right too", "b, right", None, None]


def test_around_the_end_of_the_group_and_never_across_groups():
    group = [Answered(A, text, reward, 7) for text, reward in (("x", 0.0), ("y", 1.0), ("z", 0.0), ("w", 1.0))]
    assert SIBLING.texts([*group, replace(BATCH[2], group=8)]) == ["y", "w", "w", "y", None]


def test_an_empty_response_is_no_text():
    assert SIBLING.texts([replace(BATCH[0], response=""), BATCH[1]]) == [None, None]
