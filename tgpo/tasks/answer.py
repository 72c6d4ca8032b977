"""The answer in a response: what the last box holds, freed of what a reader would not see or would overlook."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# the opening of a box, a brace that is printed, a brace that groups
BRACES = re.compile(r"(?P<box>\\boxed\s{0,8}\{)|(?P<printed>(?<!\\)(?:\\\\)*\\[{}])|(?P<opens>\{)|\}")
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"  # control and format characters
)
SPACE = r"(?:\s|\\[ ,;:!\\])"  # TeX's own among them
EDGES = re.compile(rf"^{SPACE}+|(?<![.,;])[.,;]?{SPACE}*$")  # and the end of the sentence that the answer stands in
GROUPED = re.compile(rf"-?\d{{1,3}}(?:{SPACE}\d{{3}})+(?:\.\d+)?")
SCIENTIFIC = re.compile(r"(-?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})")  # math-verify reads 2e3 as 2 times e times 3
LOOK_ALIKES = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-")  # hyphens, dashes and the minus of Unicode
    | {chr(ord(sign) + 0xFEE0): sign for sign in "0123456789+-*/=.,()<>%"}  # full width
    | {chr(0x1D7CE + i): str(i % 10) for i in range(50)}  # bold, double-struck, sans-serif, monospace digits
    | {c: r"\frac " + unicodedata.normalize("NFKC", c).replace("\u2044", " ") for c in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
    | {"\u2044": "/", "\u2215": "/", "\u3002": ".", "\u00b7": r"\cdot ", "\u221e": r"\infty ", "~": " "}
)


def last_boxed(text: str) -> str | None:
    """The content of the last complete `\\boxed{...}`, grouping braces matched; None when there is none.

    One pass, whatever the text: a response of a million open boxes takes no longer than its length.
    """
    last, open_at = (-1, -1), []  # of each open brace: where a box's content begins, or -1
    for brace in BRACES.finditer(text):
        if brace["printed"]:
            continue
        if brace["box"] or brace["opens"]:
            open_at.append(brace.end() if brace["box"] else -1)
        elif open_at and (begin := open_at.pop()) > last[0]:
            last = (begin, brace.start())
    return text[slice(*last)] if last[0] >= 0 else None


@lru_cache(maxsize=65_536)
def tidy(answer: str) -> str:
    """The same answer as math-verify reads it.

    Plain signs for their look-alikes, no full stop after it, no gaps between its thousands, `10^{3}` for `1e3`.
    """
    answer = EDGES.sub("", INVISIBLE.sub("", answer).translate(LOOK_ALIKES)).strip()
    if GROUPED.fullmatch(answer):
        return re.sub(SPACE, "", answer)
    return SCIENTIFIC.sub(r"\1\\times 10^{\2}", answer) if SCIENTIFIC.fullmatch(answer) else answer
