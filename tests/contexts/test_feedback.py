"""The verdict on the response itself."""

from __future__ import annotations

from tests.contexts.batch import BATCH
from tgpo.contexts.feedback import Feedback

TEMPLATE = "{problem} {context}"


def test_right_and_wrong_responses_get_their_own():
    texts = Feedback(template=TEMPLATE, right="right", wrong="wrong, it is {answer}").texts(BATCH)
    assert texts == [
        "right", "wrong, it is answer of a", "right", "right", "wrong, it is answer of c", "wrong, it is answer of c",
    ]  # fmt: skip


def test_a_verdict_can_be_left_out():
    texts = Feedback(template=TEMPLATE, right=None, wrong="wrong").texts(BATCH)
    assert texts == [None, "wrong", None, None, "wrong", "wrong"]
