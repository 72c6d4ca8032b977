from __future__ import annotations

import pytest
from math_verify import parse, verify

from tgpo.tasks import verifier
from tgpo.tasks.verifier import equivalent, last_boxed, verify_responses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"37+85=122;\boxed{122}", "122"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} and then \boxed{2", "1"),
        (r"\boxed{}", ""),
        ("122", None),
        ("", None),
    ],
)
def test_last_boxed(text, expected):
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("110", "110", True), ("110", "110.0", True), ("110", "111", False), ("-73", "-73", True), ("73", "-73", False),
        ("0.5", r"\frac{1}{2}", True), ("110", "", False), ("110", "1+1+", False), ("110", "}{", False),
    ],
)  # fmt: skip
def test_verdicts(gold, answer, right):
    assert equivalent(gold, rf"\boxed{{{answer}}}") is right


def test_the_shortcut_for_equal_strings_gives_math_verifys_own_verdict():
    for number in range(-300, 400, 7):
        text = rf"\boxed{{{number}}}"
        assert verify(parse(text), parse(text))


def test_rewards_need_a_box_unless_told_otherwise():
    responses = [r"\boxed{5}", "so it is 5", ""]
    assert verify_responses(["5"] * 3, responses).values == [1, 0, 0]
    assert verify_responses(["5"] * 3, responses, require_boxed=False).values == [1, 1, 0]


def test_each_distinct_pair_is_verified_once():
    equivalent.cache_clear()
    verify_responses(["7"] * 40, [r"\boxed{8}", r"\boxed{9}"] * 20)
    assert equivalent.cache_info().misses == 2


def test_a_verdict_that_takes_too_long_is_counted(monkeypatch):
    def hang(*_, **__):
        raise verifier.TimeoutException

    monkeypatch.setattr(verifier, "verify", hang)
    result = verify_responses(["5"], [r"\boxed{123456789}"])
    assert result.values == [0.0]
    assert result.timeouts == 1
    equivalent.cache_clear()


def test_a_runaway_answer_is_wrong_without_being_parsed():
    assert verify_responses(["5"], [r"\boxed{" + "9" * 10_000 + "}"]).values == [0.0]
