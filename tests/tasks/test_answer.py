from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgpo.tasks.answer import last_boxed, tidy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"37+85=122;\boxed{122}", "122"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} and then \boxed{2", "1"),
        (r"\boxed{1\boxed{2}", "2"),
        (r"\boxed{1\boxed{2}3}", "2"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed{x\\{y}}", r"x\\{y}"),
        (r"\boxed {1}", "1"),
        (r"\boxed{}", ""),
        ("122", None),
        ("", None),
    ],
)
def test_last_boxed(text, expected):
    assert last_boxed(text) == expected


def by_definition(text: str) -> str | None:
    """From the end, the first box whose braces match: quadratic, and easy to believe."""
    for start in range(len(text), -1, -1):
        if not text.startswith(r"\boxed{", start):
            continue
        depth = 0
        for position in range(start + len(r"\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[start + len(r"\boxed{") : position]
    return None


@given(st.lists(st.sampled_from([r"\boxed{", "{", "}", "1", "x", " "]), max_size=30).map("".join))
def test_last_boxed_is_the_last_whose_braces_match(text):
    assert last_boxed(text) == by_definition(text)


@given(st.text(max_size=60) | st.text(r"\boxed{}1 ", max_size=60))
def test_what_is_found_is_in_the_text(text):
    found = last_boxed(text)
    assert found is None or f"{{{found}}}" in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" 5. ", "5"), (r"\,5\ ", "5"), ("5,\n", "5"), (r"5\\", "5"), ("~5", "5"), ("1 234 567", "1234567"),
        (r"-12\,345.5", "-12345.5"),
        ("12 34", "12 34"), ("1e3", r"1\times 10^{3}"), ("-2.5E-7", r"-2.5\times 10^{-7}"), ("1e99999", "1e99999"),
        ("2e", "2e"),
        ("\u22125", "-5"), ("\uff11\uff12", "12"), ("\U0001d7d3", "5"), ("5\x00", "5"), ("\u200b5\ufeff", "5"),
        ("3\u00bd", r"3\frac 1 2"), ("5...", "5..."), ("5!", "5!"), (".5", ".5"), ("", ""), (" . ", ""),
    ],
)  # fmt: skip
def test_tidy(answer, expected):
    assert tidy(answer) == expected


@given(st.text(max_size=80))
def test_tidying_twice_changes_nothing_more(answer):
    once = tidy(answer)
    assert tidy(once) == once or answer.rstrip().endswith((".", ",", ";", "\\"))  # one full stop is taken at a time


@given(st.integers())
def test_numbers_are_tidy(number):
    assert tidy(str(number)) == str(number)
