"""Inequalities and intervals as sets of numbers, so that `0 \\le x \\le 1` and `[0,1]` can be compared."""

from __future__ import annotations

from typing import Any

from latex2sympy2_extended.logic import And
from sympy import FiniteSet, Intersection, S, Set, Union
from sympy.core.relational import Equality, Relational

from tgpo.tasks.exact import exactly


def same_region(gold: Any, answer: Any, either: tuple[bool, bool]) -> bool:
    """Returns whether inequalities in one variable, or a set, describe the same set of real numbers.

    At least one of the two has to be inequalities. `either` says for each side whether one of several inequalities is
    enough; otherwise all have to hold, or one if they cannot hold together.
    """
    if not (is_inequality(gold) or is_inequality(answer)):
        return False
    if len({str(letter) for each in (gold, answer) for letter in each.free_symbols}) > 1:
        return False
    left, right = (region(exactly(each), one) for each, one in zip((gold, answer), either, strict=True))
    return left is not None and right is not None and bool(left == right)


def is_inequality(expression: Any) -> bool:
    """Returns whether the expression is an inequality, a chain of them, or several beside each other."""
    if isinstance(expression, (And, FiniteSet)) and expression.args:
        return all(is_inequality(part) for part in expression.args)
    return isinstance(expression, Relational) and not isinstance(expression, Equality)


def region(expression: Any, either: bool) -> Set | None:
    """Returns the set of numbers for which the expression holds; None when it is neither inequalities nor a set."""
    if not is_inequality(expression):
        return expression if isinstance(expression, Set) and not expression.free_symbols else None
    if not isinstance(expression, (And, FiniteSet)):
        return expression.as_set()
    parts = [part for part in (region(each, either) for each in expression.args) if part is not None]
    both = Intersection(*parts)
    return Union(*parts) if isinstance(expression, FiniteSet) and (either or both is S.EmptySet) else both
