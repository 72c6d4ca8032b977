"""Rewrites an answer in the form that math-verify reads: without styles and colours, with plain signs.

Nothing here changes what an answer says. Units and words are in `units`, lists in `entries`.
"""

from __future__ import annotations

import re

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
SIGNS = str.maketrans(
    {
        "×": r"\times ", "÷": r"\div ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ",
        "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "π": r"\pi ",
        "°": r"^\circ ", "±": r"\pm ", "ℝ": r"\mathbb{R}", "…": r"\ldots ",
    }
)  # fmt: skip
ANY_TEXT = r"\\(?:text(?:rm|bf|it|sf|tt|normal)?|mathrm|mathbf|mathit|mbox|hbox|emph)"
STYLES = r"displaystyle|textstyle|limits|bf|rm|it|sf|tt|boldmath|large|Large|LARGE|huge|Huge|small|normalsize|bfseries"
COMMANDS = {
    "leqslant": r"\le", "leqq": r"\le", "leq": r"\le", "geqslant": r"\ge", "geqq": r"\ge", "geq": r"\ge", "neq": r"\ne",
    "varnothing": r"\emptyset", "lbrace": r"\{", "rbrace": r"\}", "degree": r"^\circ",
}  # fmt: skip
REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\begin\{(equation|align|gather|math|displaymath)\*?\}(.*)\\end\{\1\*?\}", r"\2"),
        (r"\\(?:text)?color\s*\{[A-Za-z]+\}", ""),
        (rf"\\(?:{STYLES})(?![A-Za-z])\s*", ""),
        (r"\\(?:underline|boldsymbol|bm|pmb|mathsf|mathtt|fbox|mathop|ensuremath)\s*(?=\{)", ""),
        (r"\\left\s*\.(.*)\\right\s*(?:\.|$)", r"\1"),
        (r"\\(?:b|B)igg?[lrm]?(?![A-Za-z])\s*", ""),
        (r"\^\s*\{\s*\}", ""),
        (r"((?:\d\u0305)+)", r"\\overline{\1}"),
        (r"(\d)\u0307", r"\\dot{\1}"),
        (r"\u0305", ""),
        (r"^\](.+),(.+)(?=[\[\])]$)", r"(\1,\2"),
        (r"^([\[(])(.+),(.+)\[$", r"\1\2,\3)"),
        (r"^\s*=\s*|^\s*\\approx\s*|^\s*\\(?:therefore|implies|Rightarrow)\s*", ""),
        (r"√\s*(\d+|[a-z]|\{[^{}]*\})", r"\\sqrt{\1}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\mathrm\{\s*([ied])\s*\}|\\imath(?![A-Za-z])", r"\1"),
        (r"(?<=[\d})])\s*(?:\\cdot|\*|\\,|\\ )?\s*i(?![A-Za-z])", " i"),
        (r"(?<![A-Za-z\\])i\s*(?=\\sqrt|\\pi)", "i "),
        (
            r"\\(sin|cos|tan|cot|sec|csc)\s*\(?\s*(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?\s*\)?",
            r"\\\1(\\frac{\2\\pi}{180})",
        ),
        (r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\(?:text|mathrm)\s*\{\s*[CF]\s*\}|[CF](?![A-Za-z]))\s*$", ""),
        (rf"(?:\s|\\ )*{ANY_TEXT}\s*\{{\s*(?:\\?%|per\s?cent|percentage|pct)\s*\}}", r"\\%"),
        (r"(?<=\d)\s*(?:percent|per cent|pct)\b", r"\\%"),
        (r"(?<=\d)\s+(?=\\?%)", ""),
        (r"(?<![A-Za-z])([ap])\.\s?m(?:\.|(?![A-Za-z]))", r"\1m"),
        (r"^([-+]?)\s*\\?[$€£¥₹₩]\s*(?=[\d.])", r"\1"),
        (r"(?<=\d)\s*[€£¥₹₩]$", ""),
    )
]
SUPERSCRIPT = re.compile(rf"(?<=[0-9A-Za-z)}}])[{''.join(SUPERSCRIPTS)}]+")
COMMAND = re.compile(rf"\\({'|'.join(COMMANDS)})(?![A-Za-z])")
WHOLE_TEXT = re.compile(rf"{ANY_TEXT}\s*\{{([^{{}}]*)\}}")
NUMBER_IN_TEXT = re.compile(rf"{ANY_TEXT}\s*\{{\s*([-+\d.][^{{}}]*)\}}")
DOLLARS = re.compile(r"\$\$?(?P<one>[^$]+)\$\$?|\\\((?P<two>.+)\\\)|\\\[(?P<three>.+)\\\]", re.DOTALL)
BRACES = re.compile(r"\{([^{}]*)\}")
PREFACE = re.compile(
    rf"^(?:{ANY_TEXT}\s*\{{)?\s*(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is|:|=)\s*:?\s*(?:\}}\s*|(?=[^{{}}]*\}}$))?",
    re.IGNORECASE,
)
MEMBER = re.compile(r"^\s*[A-Za-z]\s*\\in(?![A-Za-z])\s*(?=[\[(\\{])")
SET_BUILDER = re.compile(
    r"\\\{\s*[a-zA-Z]\s*(?:\\in\s*(?:\\mathbb\s*\{?R\}?|\\R|R)\s*)?"
    r"(?:\\mid|\||:|\\colon|\\vert)\s*(.*(?:[<>]|\\(?:le|ge|ne)(?![A-Za-z])).*)\\\}",
    re.DOTALL,
)


def undress(text: str) -> str:
    """Returns the answer with what only dresses it taken off."""
    text = COMMAND.sub(lambda found: COMMANDS[found[1]], text.translate(SIGNS))
    text = SUPERSCRIPT.sub(lambda found: "^{" + "".join(SUPERSCRIPTS[c] for c in found[0]) + "}", text)
    text = " ".join(text.split())
    if match := DOLLARS.fullmatch(text):
        text = next(filter(None, match.groups()))
    text = PREFACE.sub("", text)
    for pattern, replacement in REWRITES:
        text = pattern.sub(replacement, text)
    text = unwrapped(text.strip())
    return MEMBER.sub("", text).strip()


def unwrapped(text: str) -> str:
    """Returns a number in `\\text{}` or in grouping braces without them. Words stay as they are."""
    while (match := BRACES.fullmatch(text)) or (
        (match := WHOLE_TEXT.fullmatch(text)) and re.match(r"\s*[-+\d.]", match[1])
    ):
        text = match[1].strip()
    if match := SET_BUILDER.fullmatch(text):
        return match[1].strip()
    return text


DATE = re.compile(
    r"(?=.*\d).*\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b",
    re.DOTALL,
)
DATE_FILLERS = re.compile(r",|\b(?:of|the)\b|(?<=\d)(?:st|nd|rd|th)\b")
NOT_WORDS = re.compile(r"[\\^_=<>{}|+*/]")
WORD = re.compile(r"[^\W\d_]{2}")
WORDS_ALONE = re.compile(rf"{ANY_TEXT}\s*\{{[^{{}}\d,\\]*[^\W\d_]{{2}}[^{{}}\d,\\]*\}}")


def same_words(gold: str, answer: str) -> bool | None:
    """Returns whether two texts say the same in words; None when they are to be read as mathematics.

    Styles, capitals and spaces do not count; nor, in a date, commas and the order of day and month. A gold answer of
    words alone is never read as mathematics, in which `on` and `no` are one product.
    """
    said = spoken(gold)
    if said and said == spoken(answer):
        return True
    listed = said and re.search(r"\b(?:and|or)\b", said)
    return False if WORDS_ALONE.fullmatch(gold) and not listed else None


def spoken(text: str) -> str | None:
    """Returns a text's words in one spelling; None when it has no words, or signs of mathematics beside them."""
    plain = WHOLE_TEXT.sub(r" \1 ", re.sub(r"\\[ ,;:!]|\\quad|~|\$", " ", text))
    if NOT_WORDS.search(plain) or not WORD.search(plain):
        return None
    said = plain.casefold().rstrip(" .")
    return " ".join(sorted(DATE_FILLERS.sub(" ", said).split()) if DATE.match(said) else said.split())
