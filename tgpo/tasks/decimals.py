"""Numbers as they are written, with exact values, and when two of them count as equal.

Integers, fractions, mixed numbers, repeating decimals and percentages are exact. A decimal is exact too, unless the
other side is a number that no decimal can write in full: then it is that number rounded to the digits it shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

GOLD_DIGITS = 3  # that a gold decimal must show to count as a rounded value
ANSWER_DIGITS = 6  # that an answer must show, or ANSWER_DIGITS places after the point with GOLD_DIGITS of them not 0
BINARY_DIGITS = 15, 17  # a printed binary number has up to 17 digits, of which 15 are meant
MAX_EXPONENT = 5_000

DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
DECIMAL = rf"(?:{DIGITS}(?:\.\d*)?|\.\d+)"
FRACTION = (
    rf"(?:\\[dtc]?frac\s*(?:\{{\s*(?P<over>-?{DECIMAL})\s*\}}\s*\{{\s*(?P<under>-?{DECIMAL})\s*\}}"
    rf"|(?P<over1>\d)\s*(?P<under1>\d))|(?P<over2>{DECIMAL})\s*/\s*(?P<under2>{DECIMAL}))"
)
WHOLE = r"(?:(?P<whole>\d+)(?=[\s\\])(?:\s|\\[ ,;])*)"  # of a mixed number
REPEATING = (
    r"(?P<before>\d*)\.(?P<fixed>\d*)(?:\\(?:overline|bar)\s*\{(?P<bar>\d+)\}|\((?P<round>\d+)\)"
    r"|\\dot\s*\{?(?P<first>\d)\}?(?:(?P<middle>\d*)\\dot\s*\{?(?P<final>\d)\}?)?)"
)
POWER = r"(?:\\times|\\cdot|\*|\\ast)\s*10\s*\^\s*(?:\{\s*(?P<braced>[+-]?\d+)\s*\}|(?P<bare>\d))"
NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?:{REPEATING}|{WHOLE}?{FRACTION}|(?P<decimal>{DECIMAL})\s*(?:{POWER})?)\s*(?P<percent>\\?%)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Number:
    """A number as written: `unit` is the value of a decimal's last digit, None for what is exact by its form."""

    value: Fraction
    unit: Fraction | None = None
    digits: int = 0  # significant digits of a decimal
    scientific: bool = False


def read_number(text: str) -> Number | None:
    """Returns the number that the complete text writes out, or None when it is no such number."""
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    try:
        number = repeating(match) or fraction(match) or decimal(match)
    except (ZeroDivisionError, OverflowError):
        return None
    scale = Fraction(-1 if match["sign"] == "-" else 1, 100 if match["percent"] else 1)
    unit = None if number.unit is None else number.unit * abs(scale)
    return Number(number.value * scale, unit, number.digits, number.scientific)


def repeating(match: re.Match[str]) -> Number | None:
    """Returns the value of a repeating decimal: `0.1\\overline{6}` is 1/6."""
    if match["before"] is None:
        return None
    period = match["bar"] or match["round"] or match["first"] + (match["middle"] or "") + (match["final"] or "")
    fixed = match["fixed"]
    start = Fraction(int(match["before"] + fixed or 0), 10 ** len(fixed))
    return Number(start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed)))


def fraction(match: re.Match[str]) -> Number | None:
    """Returns the value of a fraction or of a mixed number: `1 3/4` and `1\\frac34` are 7/4."""
    over = match["over"] or match["over1"] or match["over2"]
    if over is None:
        return None
    under = match["under"] or match["under1"] or match["under2"]
    part = plain(over) / plain(under)
    if match["whole"] and not 0 < part < 1:
        raise OverflowError(match.group())  # 2 5/3: a product or a slip, not a mixed number
    return Number(part + int(match["whole"] or 0))


def decimal(match: re.Match[str]) -> Number:
    """Returns the value of an integer or a decimal, possibly with a power of ten. A power of ten makes digits count."""
    text = match["decimal"]
    exponent = int(match["braced"] or match["bare"] or 0)
    if abs(exponent) > MAX_EXPONENT:
        raise OverflowError(exponent)
    scale = Fraction(10) ** exponent
    scientific = bool(match["braced"] or match["bare"])
    if "." not in text and not scientific:
        return Number(plain(text))
    _, _, places = text.partition(".")
    digits = len(re.sub(r"[.,]", "", text).lstrip("0"))
    return Number(plain(text) * scale, scale / 10 ** len(places), digits, scientific)


def plain(text: str) -> Fraction:
    return Fraction(text.replace(",", "").removesuffix("."))


def same(gold: Number, answer: Number) -> bool:
    """Returns whether two numbers count as equal (docs/metrics.md states the rule)."""
    if gold.value == answer.value:
        return True
    if gold.unit is None or answer.unit is None:
        exact = answer if answer.unit is None else gold
        if terminates(exact.value):
            return False
        return near(answer.value, gold) if answer.unit is None else rounded(gold.value, answer)
    if answer.unit < gold.unit:
        return (gold.scientific or shows_enough(gold)) and near(answer.value, gold)
    return answer.unit > gold.unit and (rounded(gold.value, answer) or binary(gold, answer))


def near(exact: Fraction, gold: Number) -> bool:
    """Returns whether a gold decimal of at least three digits is the exact number rounded to those digits."""
    return gold.digits >= GOLD_DIGITS and rounds(exact, gold)


def rounded(exact: Fraction, answer: Number) -> bool:
    """Returns whether an answer is the exact number rounded to the digits it shows, and shows enough of them."""
    return shows_enough(answer) and rounds(exact, answer)


def shows_enough(number: Number) -> bool:
    if number.unit is None:
        return False
    small = number.unit <= Fraction(1, 10**ANSWER_DIGITS) and not number.scientific
    return number.digits >= (GOLD_DIGITS if small else ANSWER_DIGITS)


def rounds(exact: Fraction, number: Number) -> bool:
    return number.unit is not None and 2 * abs(exact - number.value) <= number.unit


def binary(gold: Number, answer: Number) -> bool:
    """Returns whether gold is a printed binary number, as 0.30000000000000004 is, and the answer what it means."""
    meant, most = BINARY_DIGITS
    if not (gold.unit and meant < gold.digits <= most and answer.digits < meant):
        return False
    return 2 * abs(gold.value - answer.value) <= gold.unit * 10 ** (gold.digits - meant)


def terminates(value: Fraction) -> bool:
    """Returns whether a decimal can write the value in full."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
