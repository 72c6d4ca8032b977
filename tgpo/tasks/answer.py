"""Extracts the answer from the last box of a response and normalises its characters for math-verify."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# box: the start of a `\boxed{`; printed: an escaped brace, which TeX prints; opens: a brace that opens a group
BRACES = re.compile(r"(?P<box>\\boxed\s{0,8}\{)|(?P<printed>(?<!\\)(?:\\\\)*\\[{}])|(?P<opens>\{)|\}")
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"  # control and format characters
)
SPACE = r"(?:\s|\\[ ,;:!\\])"  # white space, including TeX's spacing commands
EDGES = re.compile(rf"^{SPACE}+|(?<![.,;])[.,;]?{SPACE}*$")  # white space, and one final punctuation mark
GROUPED = re.compile(rf"-?\d{{1,3}}(?:{SPACE}\d{{3}})+(?:\.\d+)?")
SCIENTIFIC = re.compile(r"(-?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})")  # math-verify reads 2e3 as 2 times e times 3
LOOK_ALIKES = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-")  # Unicode's hyphens, dashes and minus
    | {chr(ord(sign) + 0xFEE0): sign for sign in "0123456789+-*/=.,()<>%"}  # full width
    | {chr(0x1D7CE + i): str(i % 10) for i in range(50)}  # bold, double-struck, sans-serif, monospace digits
    | {c: r"\frac " + unicodedata.normalize("NFKC", c).replace("\u2044", " ") for c in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
    | {"\u2044": "/", "\u2215": "/", "\u3002": ".", "\u00b7": r"\cdot ", "\u221e": r"\infty ", "~": " "}
)


def last_boxed(text: str) -> str | None:
    """Returns the content of the last complete `\\boxed{...}`, with grouping braces matched; None when there is none.

    One pass over the text: the time is linear in its length, even for a response of a million unclosed boxes.
    """
    last, open_at = (-1, -1), []  # for each open brace, where the box's content begins; -1 if it opens no box
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
    """Returns the answer rewritten in a form that math-verify reads correctly.

    Invisible characters, surrounding white space, a final punctuation mark and spaces between thousands are removed;
    look-alike characters become plain ones; `1e3` becomes `1\\times 10^{3}`.
    """
    answer = EDGES.sub("", INVISIBLE.sub("", answer).translate(LOOK_ALIKES)).strip()
    if GROUPED.fullmatch(answer):
        return re.sub(SPACE, "", answer)
    return SCIENTIFIC.sub(r"\1\\times 10^{\2}", answer) if SCIENTIFIC.fullmatch(answer) else answer
