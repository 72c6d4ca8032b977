"""Units, and other words that follow a number: which can be left out, which change the number, which make no answer."""

from __future__ import annotations

import re

# one line a unit: its names, of which the first stands for the others
UNITS = {
    name: names.split()[0]
    for names in """
    m metre meter
    cm centimetre centimeter
    mm millimetre millimeter
    km kilometre kilometer
    in inch inche
    ft feet foot
    yd yard
    mi mile
    g gram gm
    mg milligram
    kg kilogram kilo
    t tonne ton
    lb pound
    oz ounce
    s second sec
    ms millisecond
    min minute
    h hour hr
    day
    week
    month
    year yr
    L l litre liter
    mL ml millilitre milliliter
    gal gallon
    N newton
    J joule
    kJ
    W watt
    kW
    V volt
    A ampere amp
    ohm
    C coulomb
    F farad
    T tesla
    G gauss
    Wb weber
    H henry
    S siemens
    Pa pascal
    kPa
    Hz hertz
    K kelvin
    mol mole
    eV
    am a.m
    pm p.m
    mi/h mph
    km/h kmph kmh
    m/s
    degree deg
    rad radian
    dollar usd
    cent
    euro eur
    pound-sterling gbp
    yuan rmb cny
    rupee rs
    acre
    hectare ha
    unit
    """.strip().splitlines()
    for name in names.split()
}
BARE_LETTERS = "mgshLNJVW"  # a unit after a space too, where other letters are variables
ORDINALS = ("st", "nd", "rd", "th")
POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
# such words are part of the answer: a number with one of them is not the number alone
MEANINGFUL = re.compile(
    r"\b(?:not?|never|or|and|if|when|unless|except|but|wrong|false|incorrect|true|less|more|than|least|most|over|under|above"
    r"|below|between|to|minus|plus|times|dozens?|pairs?|half|halves|thirds?|quarters?|tenths?|hundredths?|thousandths?"
    r"|score|gross|squared|cubed|mod|base|factorial|percent\w*|of|k|bn|negative|positive|ones|tens|lakhs?|crores?|fold"
    r"|(?:hundred|thousand|million|billion|trillion)s|root|choose|remainder|point|instead|maybe|perhaps)\b",
    re.IGNORECASE,
)
SPACE = r"(?:\s|\\[ ,;:!]|\\quad|~)*"
QUANTITY = rf"(?P<value>.*(?:[\d}})!%]|\\pi)){SPACE}"
STYLE = r"(?:text(?:rm|bf|it|normal)?|math(?:rm|it|bf)|mbox|operatorname)"
GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
ONE = rf"(?:\\{STYLE}\s*{GROUP}|\\Omega)(?:\s*\^\s*(?:\{{-?\d\}}|\d))?"
IN_TEXT = re.compile(
    rf"{QUANTITY}(?P<word>{ONE}(?:(?:\s*/\s*|\\cdot|{SPACE}){ONE})*|\\frac\s*\{{\s*{ONE}\s*\}}\s*\{{\s*{ONE}\s*\}})",
    re.DOTALL,
)
TEX = re.compile(rf"\\(?:{STYLE}|frac)(?![A-Za-z])|[{{}}^]")
BARE = re.compile(
    r"(?P<value>.*[\d})!])(?P<gap>\s*)(?P<word>[A-Za-z]+(?:/[a-z]+)?(?: [A-Za-z]+)*(?:\^\{?[23]\}?)?)", re.DOTALL
)
CURRENCY = re.compile(r"\\\$|[€£¥₹₩]")
NUMBER_FIRST = re.compile(r"[-+]?[\d.,/\s]+")
CHINESE = re.compile(r"(?P<value>.*\d)\s*(?P<word>[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7a3]{1,4})", re.DOTALL)
CHINESE_NUMERALS = re.compile("[一二三四五六七八九十百千万亿兆半萬億倍打만억천백십]|分之")
CHINESE_PARTS = re.compile("(?:千克|千米|百米)")


def canonical(word: str) -> str:
    """Returns the one name of a unit, with its power, or the word in small letters without the s of a plural."""
    word = word.strip(" .()")
    parts = re.split(r"\s*/\s*|\s+per\s+", word)
    if len(parts) > 1:
        return "/".join(map(canonical, parts))
    for start, power in (("square ", "2"), ("sq ", "2"), ("cubic ", "3"), ("cu ", "3")):
        if word.lower().startswith(start):
            return canonical(word[len(start) :]) + power
    for name in (word, word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
        if name in UNITS:
            return UNITS[name]
    return word.lower().removesuffix("s")


def split_unit(text: str) -> tuple[str, str]:
    """Returns the text without the unit at its end, and the unit (or an empty string).

    A word that changes what is said stays, as does a letter that is a variable (`3m`).
    """
    if match := CHINESE.fullmatch(text):
        word = match["word"]
        changes = CHINESE_NUMERALS.search(CHINESE_PARTS.sub("", word))
        return (text, "") if changes else (match["value"], word)
    match = IN_TEXT.fullmatch(text) or bare_unit(text)
    if match is None:
        return text, ""
    value, word = match["value"], TEX.sub("", re.sub(r"\}\s*\{", "/", re.sub(r"\\[ ,;:!]", " ", match["word"])))
    word = " ".join(word.split()).strip(" .()")
    first, _, rest = word.partition(" ")
    if first.lower() in POWERS:
        value, word = rf"{value}\times 10^{{{POWERS[first.lower()]}}}", rest
    variable = len(word) == 1 and word.isascii() and word not in UNITS
    if variable or MEANINGFUL.search(word) or re.search(r"[=<>+,;]|(?<![a-z-])\d", word):
        return text, ""
    return value, "" if word in ORDINALS else canonical(word)


def bare_unit(text: str) -> re.Match[str] | None:
    """Returns the number and the word after it, set as mathematics; None when the word is a variable or a product.

    The word is a unit or, after a plain number, any word of three letters or more.
    """
    match = BARE.fullmatch(text)
    if match is None or text.endswith("i"):
        return None
    word, plain = re.sub(r"[\^{}]", "", match["word"]), NUMBER_FIRST.fullmatch(match["value"]) is not None
    if word in ORDINALS or word.lower() in POWERS:
        return match if plain else None
    known = canonical(word).rstrip("23") in UNITS.values()
    if len(word) == 1:
        return match if word in BARE_LETTERS and plain and match["gap"] else None
    return match if known or (plain and match["gap"] and len(word) > 2) else None


def same_unit(gold: str, answer: str) -> bool:
    """Returns whether two units agree: one may be left out, be called a unit, or be Chinese beside a Latin one."""
    either_general = not gold or not answer or "unit" in (gold.rstrip("23"), answer.rstrip("23"))
    return gold == answer or either_general or gold.isascii() != answer.isascii()


def other_currency(gold: str, answer: str) -> bool:
    """Returns whether both sides are sums of money, and not of the same."""
    left, right = (set(CURRENCY.findall(text)) for text in (gold, answer))
    return bool(left and right) and left != right
