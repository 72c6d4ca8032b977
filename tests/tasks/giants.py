"""Responses of the verifier's corpus that are too long to write down, by name."""

from __future__ import annotations

from collections.abc import Callable

MILLION = 1_000_000


def box(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def nested(count: int, left: str, core: str, right: str) -> str:
    return left * count + core + right * count


GIANTS: dict[str, Callable[[], str]] = {
    "long_thought": lambda: "hm, " * (MILLION // 4) + box("5"),
    "long_tail": lambda: box("5") + " indeed" * (MILLION // 7),
    "many_boxes": lambda: box("4") * 100_000 + box("5"),
    "many_boxes_last_wrong": lambda: box("5") * 100_000 + box("4"),
    "open_boxes": lambda: r"\boxed{" * 100_000 + "5",
    "open_boxes_then_right": lambda: r"\boxed{" * 100_000 + box("5"),
    "nested_boxes": lambda: nested(10_000, r"\boxed{", "5", "}"),
    "open_braces": lambda: r"\boxed{5" + "{" * MILLION,
    "closing_braces": lambda: "}" * MILLION + box("5"),
    "deep_braces": lambda: box(nested(MILLION // 2, "{", "5", "}")),
    "deep_braces_short": lambda: box(nested(900, "{", "5", "}")),
    "backslashes": lambda: "\\" * MILLION + " " + box("5"),
    "escaped_braces": lambda: r"\{" * (MILLION // 2) + box("5"),
    "long_digits": lambda: box("5" * MILLION),
    "long_digits_allowed": lambda: box("5" * 1_900),
    "long_zeros": lambda: box("5." + "0" * 1_900),
    "leading_zeros": lambda: box("0" * 1_900 + "5"),
    "long_spaces": lambda: box(" " * 100_000 + "5"),
    "deep_frac": lambda: box(nested(200, r"\frac{1}{", "2", "}")),
    "deep_frac_one": lambda: box(nested(40, r"\frac{1}{", "1", "}")),
    "deep_sqrt": lambda: box(nested(300, r"\sqrt{", "2", "}")),
    "deep_sqrt_one": lambda: box(nested(100, r"\sqrt{", "1", "}")),
    "deep_brackets": lambda: box("(" * 900 + "5" + ")" * 899),
    "deep_left_right": lambda: box(nested(50, r"\left(", "5", r"\right)")),
    "deep_powers": lambda: box(nested(400, "2^{", "2", "}")),
    "deep_functions": lambda: box(nested(300, r"\sin(", "5", ")")),
    "many_terms": lambda: box("+".join("1" * 400)),
    "many_terms_wrong": lambda: box("+".join("1" * 400)),
    "many_minus": lambda: box("-" * 998 + "5"),
    "many_letters": lambda: box("abcdefghij" * 190),
    "many_equals": lambda: box("5=" * 200 + "5"),
    "many_commas": lambda: box("5," * 900 + "5"),
    "many_factorials": lambda: box("5" + "!" * 1_900),
    "many_dollars": lambda: box("$" * 1_900),
    "many_nuls": lambda: box("\0" * MILLION),
    "many_backslashes_inside": lambda: box("\\" * 1_900),
    "many_carets": lambda: box("5" + "^" * 1_900),
    "wide_matrix": lambda: box(r"\begin{pmatrix}" + "&".join("5" * 600) + r"\end{pmatrix}"),
    "megabyte_word": lambda: "5" * MILLION,
    "megabyte_emoji": lambda: "\N{ROBOT FACE}" * (MILLION // 4) + box("5"),
    "tower_of_braced_powers": lambda: box(nested(200, "9^{", "9", "}")),
    "alternation": lambda: box(r"5 \text{ and } " * 120),
    "alternation_spaces": lambda: box("5 , " * 480),
    "box_word_repeated": lambda: r"\boxed " * 100_000 + box("5"),
    "box_and_spaces": lambda: r"\boxed" + " " * MILLION + box("5"),
}
