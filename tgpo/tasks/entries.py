"""Lists, and readings of an answer that math-verify would take from a part of it."""

from __future__ import annotations

import re
from math import gcd

THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
SET_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\{,\}|\\,|,\\!)\d{3})+(?!\d)")
THREE_DIGITS = re.compile(r"[1-9]\d\d(?:,[1-9]\d\d)+")
DECIMAL_COMMA = re.compile(r"([-+]?\d+)(?:,|\{,\})(\d+)")
BETWEEN = re.compile(r"\s*(?:\\text(?:rm|bf|it)?\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
OR = re.compile(r"(?<![A-Za-z\\])or(?![A-Za-z])|\\text\s*\{\s*or\s*\}|\\vee(?![A-Za-z])|\\lor(?![A-Za-z])")
OPEN, CLOSE = "([{", ")]}"
DOTS = re.compile(r"\\[lc]?dots(?![A-Za-z])|\.\.\.")
TIME = re.compile(r"(\d{1,2}):([0-5]\d)")
PRIME = re.compile(r"[A-Za-z]'|\\prime")
BASE = re.compile(r"\d\s*_\s*\{?\s*(\w+)")
DAY = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
VALUE_OF = re.compile(r"([A-Za-z])\s*=\s*([^=<>]+)")
LETTER_DIGIT = re.compile(r"(?<![\\A-Za-z_{^])[A-HJ-Za-hj-z]\d")
NO_ANSWER = (
    re.compile(r"=\s*="),
    re.compile(r"(?<![A-Za-z])(?:OR|AND)(?![A-Za-z])"),
    re.compile(r"^[^$]*\$\{[^$]*$"),
)


def entries(text: str) -> list[str]:
    """Returns the parts of a list: what commas, semicolons, "and" and "or" outside brackets separate."""
    text = BETWEEN.sub(",", text)
    parts, depth, begin = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in OPEN) - (character in CLOSE)
        if character in ",;" and depth == 0 and not text[:at].endswith("\\"):
            parts.append(text[begin:at])
            begin = at + 1
    parts = [part.strip() for part in (*parts, text[begin:])]
    return [part for part in parts if part] if len(parts) > 1 else parts


def spelled_out(gold: str, answer: str) -> tuple[str, str]:
    """Returns both texts with commas in one meaning, which the gold answer decides.

    Commas between groups of three digits belong to a number, except in a gold answer of groups that could all be
    numbers of their own, such as `100,200`. A comma before other digits is a decimal comma if the gold answer is one
    number.
    """
    if THREE_DIGITS.fullmatch(gold.replace(" ", "")):
        return gold.replace(",", ", "), answer.replace(",", ", ")
    gold, answer = (without_groups(text) for text in (gold, answer))
    if (match := DECIMAL_COMMA.fullmatch(answer)) and len(entries(gold)) == 1 and not re.search(r"[(\[{]", gold):
        answer = f"{match[1]}.{match[2]}"
    return gold, answer


def without_groups(text: str) -> str:
    """Returns the text with its groups of thousands run together. In brackets a plain comma separates two entries."""
    text = SET_THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    return text if re.search(r"[(\[]|\\\{", text) else THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)


def inside(text: str) -> str:
    """Returns the inside of one pair of brackets around the complete text, or the text."""
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text).strip()
    depths, depth = [], 0
    for character in text:
        depth += (character in OPEN) - (character in CLOSE)
        depths.append(depth)
    return text[1:-1] if text[:1] in {*OPEN} and depths[-1] == 0 and 0 not in depths[:-1] else text


def other_length(gold: str, answer: str) -> bool:
    """Returns whether one list has more entries than the other, repetitions included, so that they cannot be equal.

    A set in braces may repeat an entry, `\\pm` stands for two, and an interval can be an inequality.
    """
    if re.search(r"\\(?:pm|mp|cup|begin|[lg]e|mathbb|infty)(?![A-Za-z])|\\\{|[<>]", gold + answer):
        return False
    return len(entries(inside(gold))) != len(entries(inside(answer)))


def swallows(gold: str, answer: str) -> bool:
    """Returns whether math-verify would leave out a part of the answer, or take `x2` for a product."""
    if any(pattern.search(answer) and not pattern.search(gold) for pattern in NO_ANSWER):
        return True
    if any(bool(sign.search(gold)) != bool(sign.search(answer)) for sign in (DOTS, PRIME)):
        return True
    if {*BASE.findall(gold)} and {*BASE.findall(answer)} and BASE.findall(gold) != BASE.findall(answer):
        return True
    return bool(LETTER_DIGIT.search(answer)) and "=" not in answer and not LETTER_DIGIT.search(gold)


def is_time_or_day(text: str) -> bool:
    """Returns whether a text such as `10:30` or `2023-01-05` is a time or a date, which no number is equal to.

    A ratio in its lowest terms is no time.
    """
    time = TIME.fullmatch(text)
    is_time = time is not None and (time[2].startswith("0") or gcd(int(time[1]), int(time[2])) > 1)
    return is_time or DAY.fullmatch(text) is not None


def as_point(text: str, other: str) -> str:
    """Returns `x=1, y=2` as the point `(1, 2)`, in the order of the alphabet, if the other side is a point."""
    values = [VALUE_OF.fullmatch(part) for part in entries(text)]
    named = {value[1]: value[2].strip() for value in values if value}
    if not (other.startswith("(") and inside(other) != other and len(named) == len(values) > 1):
        return text
    return f"({', '.join(named[name] for name in sorted(named))})"
