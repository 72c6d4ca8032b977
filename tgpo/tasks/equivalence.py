"""Compares one answer with one gold answer, in a process that the answer may crash.

Numbers that are written out are compared here (`decimals`); the rest is rewritten (`clothes`, `units`, `entries`),
read by math-verify, and compared by it with exact numbers (`exact`).

Runs in the workers of `verifier_host`. Beside those it imports no module of the run, so a worker starts fast, uses
little memory and holds none of the run's state.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from itertools import product
from typing import Any, Literal

from latex2sympy2_extended import NormalizationConfig
from latex2sympy2_extended.logic import And
from math_verify import ExprExtractionConfig, LatexExtractionConfig, grader, parse, verify
from sympy import Add, Eq, Expr, Mul
from sympy.core.function import AppliedUndef

from tgpo.tasks.clothes import same_words, undress
from tgpo.tasks.decimals import near, read_number, rounded, same
from tgpo.tasks.entries import OR, as_point, entries, is_time_or_day, other_length, spelled_out, swallows
from tgpo.tasks.exact import exactly, same_as_decimal, same_expression, same_number
from tgpo.tasks.regions import same_region
from tgpo.tasks.units import other_currency, same_unit, split_unit

# spent: the answer exceeded its limit of time, memory or recursion depth; lost: its worker died for an unknown reason
Verdict = Literal["right", "wrong", "spent", "lost"]

# The complete content of a box is the answer. math-verify's search for expressions would pick a number out of a box
# that does not parse, and read `\\ne 5` or `f(5` as 5.
# Its removal of units would take the last letter of `3m` for metres, and any text at the end for a unit.
WITHOUT_UNITS = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
IN_A_BOX = [LatexExtractionConfig(normalization_config=WITHOUT_UNITS)]
IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]

OUT_OF_MEMORY = 70  # exit code of a worker whose answer exhausted its memory

# math-verify logs every unparsable answer with a traceback; an untrained student writes thousands of them.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


# math-verify rounds numbers to six decimals and takes a difference below 1e-15 for none
grader.sympy_numeric_eq, grader.sympy_symbolic_eq = same_number, same_expression


def confine(memory: int) -> None:
    """Limits this worker to `memory` bytes of address space, no file writes, no core dumps. Called once per worker."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler is in Python, and waits while sympy runs C code
    sys.dont_write_bytecode = True
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def judge(gold: str, text: str, seconds: float) -> Verdict:
    """Returns the verdict on one answer. The kernel ends the worker after `seconds` of processor time.

    The kernel can do so even while sympy runs C code. Processor time is used instead of wall-clock time so that the
    verdict does not depend on the load of the machine.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return "right" if equivalent(gold, text) else "wrong"
    except RecursionError:
        return "spent"
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # after this the process cannot be trusted with another answer
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def equivalent(gold: str, text: str) -> bool:
    """Returns whether the answer in `text` equals `gold`: the content of a box, or what math-verify finds in it."""
    try:
        if text.startswith(r"\boxed{"):
            return same_answer(gold, text.removeprefix(r"\boxed{").removesuffix("}"))
        return same_parsed(gold, text, IN_TEXT)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001  sympy may raise any exception on a model's text; such an answer is wrong
        return False


def same_answer(gold: str, answer: str) -> bool:
    """Returns whether the complete content of a box is the gold answer, by the first rule that can tell."""
    if (verdict := same_words(gold, answer)) is not None:
        return verdict
    if other_currency(gold, answer):
        return False
    either = bool(OR.search(gold)), bool(OR.search(answer))
    gold, answer = spelled_out(undress(gold), undress(answer))
    gold, answer = as_point(gold, answer), as_point(answer, gold)
    if swallows(gold, answer) or other_length(gold, answer):
        return False
    rights, givens = ([split_unit(undress(part)) for part in entries(text)] for text in (gold, answer))
    units = [{unit for _, unit in parts if unit} for parts in (rights, givens)]
    if len(units[0]) == len(units[1]) == 1 and not same_unit(*units[0], *units[1]):
        return False
    if (verdict := same_numbers(*([value for value, _ in parts] for parts in (rights, givens)))) is not None:
        return verdict
    gold, answer = (", ".join(value for value, _ in parts) for parts in (rights, givens))
    if gold == answer or is_time_or_day(gold):
        return gold == answer
    if (verdict := same_decimal(gold, answer)) is not None:
        return verdict
    return same_parsed(gold, rf"\boxed{{{answer}}}", IN_A_BOX, either)


def same_numbers(golds: list[str], answers: list[str]) -> bool | None:
    """Returns whether two lists of numbers have equal members, in any order; None if some are no written numbers."""
    rights, givens = ([read_number(text) for text in texts] for texts in (golds, answers))
    if len(rights) != len(givens) or None in rights or None in givens:
        return None
    pairs = zip(*(sorted(filter(None, numbers), key=lambda n: n.value) for numbers in (rights, givens)), strict=True)
    return all(same(right, given) for right, given in pairs)


def same_decimal(gold: str, answer: str) -> bool | None:
    """Returns whether a decimal agrees with a number that math-verify reads; None if these are not the two sides."""
    right, given = read_number(gold), read_number(answer)
    decimal, other = (right, answer) if right else (given, gold)
    if decimal is None or decimal.unit is None:
        return None
    for number in parse(rf"\boxed{{{other}}}", IN_A_BOX, parsing_timeout=0, raise_on_error=True):
        if isinstance(number, Expr) and not exactly(number).free_symbols:
            return same_as_decimal(exactly(number), decimal, near if right else rounded)
    return None


def same_parsed(gold: str, text: str, where: list[Any], either: tuple[bool, bool] = (False, False)) -> bool:
    """Returns whether math-verify finds the answer in `text` equal to `gold`, or both are one set of numbers.

    math-verify's own timeouts are off, because the caller sets a limit.
    """
    rights = parse(rf"\boxed{{{gold}}}", IN_A_BOX, parsing_timeout=0, raise_on_error=True)
    givens = parse(text, where, parsing_timeout=0, raise_on_error=True)
    if not all(consistent(given) for given in givens):
        return False
    if verify(rights, givens, timeout_seconds=0, raise_on_error=True, allow_set_relation_comp=True):
        return True
    return any(same_region(right, given, either) for right, given in product(rights, givens))


def consistent(answer: Any) -> bool:
    """Returns whether no equation in the answer sets two different numbers equal, or is one still to be solved.

    math-verify compares what follows the last equals sign; what comes before is then a name, or the same number.
    """
    links = getattr(answer, "_unsorted_args", ()) if isinstance(answer, And) else (answer,)
    links = [link for link in links if isinstance(link, Eq)]
    sides = [side for link in links for side in (link.lhs, link.rhs) if isinstance(side, Expr)]
    numbers = [side for side in sides if not side.free_symbols and not side.has(AppliedUndef)]
    if not all(same_number(number, numbers[-1]) or same_number(numbers[-1], number) for number in numbers):
        return False
    return not (links and isinstance(links[-1].rhs, Expr) and not links[-1].rhs.free_symbols and unsolved(links[0].lhs))


def unsolved(left: Any) -> bool:
    """Returns whether the left side of an equation has to be solved for its letter, as `2x` and `x+1` have."""
    return isinstance(left, (Add, Mul)) and len(left.free_symbols) == 1 and any(part.is_Number for part in left.args)
