"""The rules of what counts as equal (docs/metrics.md), as properties of numbers that are drawn."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tgpo.tasks.clothes import same_words, undress
from tgpo.tasks.decimals import Number, read_number, same, terminates
from tgpo.tasks.entries import as_point, entries, is_time_or_day, spelled_out
from tgpo.tasks.equivalence import equivalent
from tgpo.tasks.units import UNITS, split_unit

signs = st.sampled_from(["", "-"])
thirds = st.builds(Fraction, st.integers(1, 10**6), st.sampled_from([3, 7, 9, 11, 13, 21])).filter(
    lambda value: not terminates(value)
)


def read(text: str) -> Number:
    number = read_number(text)
    assert number is not None, text
    return number


def box(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def shown(value: Fraction, digits: int, off: int = 0) -> str:
    """The value in scientific notation, its last digit moved by `off`."""
    exponent = 0
    while value >= 10**digits:
        value, exponent = value / 10, exponent + 1
    while value < 10 ** (digits - 1):
        value, exponent = value * 10, exponent - 1
    return rf"{round(value) + off}\times 10^{{{exponent}}}"


@given(thirds, st.integers(6, 15), st.sampled_from([-1, 1]))
def test_six_digits_of_a_number_that_no_decimal_writes_are_that_number(value, digits, off):
    gold = read(rf"\frac{{{value.numerator}}}{{{value.denominator}}}")
    assert same(gold, read(shown(value, digits)))
    assert not same(gold, read(shown(value, digits, off)))


@given(thirds, st.integers(2, 5))
def test_fewer_digits_of_it_are_not(value, digits):
    gold = read(f"{value.numerator}/{value.denominator}")
    assert not same(gold, read(shown(value, digits)))


@given(thirds, st.integers(1, 12))
def test_a_gold_decimal_of_three_digits_is_what_rounds_to_it(value, digits):
    answer = read(f"{value.numerator}/{value.denominator}")
    assert same(read(shown(value, digits)), answer) is (digits >= 3)
    assert not same(read(shown(value, digits, 1)), answer)


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(0, 9), st.integers(-60, 60))
def test_the_size_of_decimals_does_not_matter(left, right, places, exponent):
    """What math-verify's rounding to six decimals broke: equal or not at one size is equal or not at every size."""
    texts = [f"{number // 10**places}.{number % 10**places:0{max(places, 1)}d}" for number in (left, right)]
    verdicts = {same(*(read(rf"{text}\times 10^{{{shift}}}") for text in texts)) for shift in (exponent, 1)}
    assert len(verdicts) == 1


@given(signs, st.integers(0, 10**20), st.integers(0, 40))
def test_a_sign_and_a_zero_count(sign, digits, exponent):
    text = rf"{digits}\times 10^{{-{exponent}}}"
    other = "-" if not sign else ""
    assert same(read(sign + text), read(sign + text))
    assert same(read(sign + text), read(other + text)) is (digits == 0)
    assert same(read("0"), read(text)) is same(read(text), read("0.0")) is (digits == 0)


@given(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(0, 5))
def test_a_decimal_is_only_itself_where_it_can_be_exact(value, off, places):
    """For a gold answer that a decimal can write, no other decimal is close enough."""
    gold = read(rf"\frac{{{value}}}{{{10**places}}}")
    near = Fraction(value * 10**12 + off, 10 ** (places + 12))
    assert not same(gold, read(f"{int(near)}.{int((near - int(near)) * 10**20):020d}"))


@given(signs, st.integers(0, 99), st.text("0123456789", max_size=3), st.text("0123456789", min_size=1, max_size=6))
def test_repeating_decimals_are_fractions(sign, whole, fixed, period):
    size = 10 ** len(period) - 1
    value = Fraction(int(f"{whole}{fixed}{period}") - int(f"{whole}{fixed}"), size * 10 ** len(fixed))
    value *= -1 if sign else 1
    written = [rf"\overline{{{period}}}", rf"\bar{{{period}}}", f"({period})"]
    if len(period) > 1:
        written.append(rf"\dot{{{period[0]}}}{period[1:-1]}\dot{{{period[-1]}}}")
    assert {read(f"{sign}{whole}.{fixed}{text}").value for text in written} == {value}


@given(signs, st.integers(1, 999), st.integers(1, 98), st.integers(2, 99))
def test_mixed_numbers_are_fractions(sign, whole, over, under):
    assume(over < under)
    value = (whole + Fraction(over, under)) * (-1 if sign else 1)
    for text in (
        f"{whole} {over}/{under}",
        rf"{whole}\frac{{{over}}}{{{under}}}",
        rf"{whole}\ \dfrac{{{over}}}{{{under}}}",
    ):
        assert read(sign + text).value == value
    assert read(f"{sign}{whole}{over}/{under}").value == Fraction(int(f"{sign}{whole}{over}"), under)


@given(
    st.integers(-(10**6), 10**6), st.sampled_from(["%", r"\%", r" \%", r"\text{ percent}", " percent", r"\text{\%}"])
)
def test_a_percentage_is_a_hundredth(value, sign):
    assert read(undress(f"{value}{sign}")).value == Fraction(value, 100)


@settings(max_examples=30, deadline=None)
@given(st.integers(30, 400), st.integers(30, 400))
def test_tiny_numbers_are_told_apart(left, right):
    for form in (r"\frac1{{2^{{{}}}}}", r"\sqrt{{2}}+10^{{-{}}}", r"x/3^{{{}}}", r"({}, 10^{{-{}}})"):
        gold, answer = (form.format(power, power) for power in (left, right))
        assert equivalent(gold, box(answer)) is (left == right)


@pytest.mark.slow  # sympy takes a third of a second for each
@settings(max_examples=30, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 50), st.sampled_from("[("), st.sampled_from("])"))
def test_an_interval_is_its_inequality(low, length, left, right):
    high = low + length
    interval, other = f"{left}{low},{high}{right}", f"{left}{low},{high}{')' if right == ']' else ']'}"
    less = {"[": r"\le", "]": r"\le", "(": "<", ")": "<"}
    inequality = f"{low} {less[left]} x {less[right]} {high}"
    member = rf"x \in {interval}"
    for gold, answer in ((interval, inequality), (inequality, interval), (member, inequality), (inequality, member)):
        assert equivalent(gold, box(answer))
    assert not equivalent(other, box(inequality))
    assert not equivalent(inequality, box(other))


@given(st.lists(st.integers(100, 999), min_size=2, max_size=5), st.randoms())
def test_a_list_has_no_order_and_is_no_number(numbers, random):
    gold = ",".join(map(str, numbers))
    assume(all(number % 1000 >= 100 for number in numbers))
    random.shuffle(numbers)
    assert equivalent(gold, box(",".join(map(str, numbers))))
    assert not equivalent(gold, box(gold.replace(",", "")))
    assert not equivalent(gold, box(",".join(map(str, [*numbers, numbers[0]]))))


@given(st.integers(1, 10**12))
def test_commas_between_thousands_are_left_out_where_the_gold_is_a_number(value):
    assert spelled_out(str(value), f"{value:,}") == (str(value), str(value))


@pytest.mark.parametrize("unit", [name for name in UNITS if name not in ("K", "kPa")])
def test_a_unit_may_be_left_out_and_not_be_another(unit):
    text = rf"5\text{{ {unit}}}"
    assert equivalent("5", box(text))
    assert equivalent(text, box("5"))
    other = "cm" if UNITS[unit] != "cm" else "kg"
    assert UNITS[unit] == "unit" or not equivalent(text, box(rf"5\text{{ {other}}}"))
    assert not equivalent("6", box(text))


@pytest.mark.parametrize(
    "word", ["or 6", "or less", "million", "is wrong", "dozen", "hundredths", "if x = 2", "mod 7", "x", "+ 1"]
)
def test_words_that_change_a_number_stay_with_it(word):
    assert not equivalent("5", box(rf"5\text{{ {word}}}"))
    assert not equivalent("5", box(f"5 {word}"))


def test_what_is_split_from_a_number():
    assert split_unit(r"25\pi\,\mathrm{cm}^2") == (r"25\pi", "cm2")
    assert split_unit("5 square feet") == ("5", "ft2")
    assert split_unit(r"5 \frac{\text{m}}{\text{s}}") == ("5", "m/s")
    assert split_unit("3m") == ("3m", "")
    assert split_unit("2007年") == ("2007", "年")
    assert split_unit("15万") == ("15万", "")


def test_words_are_compared_as_words():
    assert same_words(r"\text{June 20}", "20 june") is True
    assert same_words(r"\text{no}", "on") is False
    assert same_words("x", "X") is None
    assert same_words(r"\frac12", "0.5") is None


def test_parts_of_a_list():
    assert entries(r"(1,2), \{3,4\} \text{ and } f(5,6)") == ["(1,2)", r"\{3,4\}", "f(5,6)"]
    assert is_time_or_day("10:30")
    assert is_time_or_day("2023-01-05")
    assert not is_time_or_day("3:2")
    assert as_point("y=2, x=1", "(1,2)") == "(1, 2)"
    assert as_point("x=1, x=2", "(1,2)") == "x=1, x=2"
