"""Compares sympy expressions exactly where math-verify rounds both sides to six decimals or drops what is below 1e-15.

`equivalence` puts these functions in place of math-verify's own; they run only in the verifier's workers.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from sympy import Add, Basic, Expr, Float, I, MatrixBase, Mul, Pow, Rational, Symbol, UnevaluatedExpr, simplify

from tgpo.tasks.decimals import Number, near, rounded, same, terminates

GUARD_DIGITS = 20  # beyond the digits that a decimal shows, when the other side is worked out
MANY_DIGITS = 1_000  # two numbers that sympy cannot tell apart are the same if they agree so far


def same_number(gold: Basic | MatrixBase, answer: Basic | MatrixBase, *_: Any) -> bool:
    """Returns whether two numbers, or two matrices of numbers, are equal. It replaces `grader.sympy_numeric_eq`."""
    if isinstance(gold, MatrixBase) or isinstance(answer, MatrixBase):
        return same_matrix(gold, answer)
    written, given = as_written(gold), as_written(answer)
    if written and given:
        return same(written, given)
    left, right = exactly(gold), exactly(answer)
    if not (isinstance(left, Expr) and isinstance(right, Expr)) or left.free_symbols | right.free_symbols:
        return bool(left == right)
    if written and written.unit is not None:
        return same_as_decimal(right, written, near)
    if given and given.unit is not None:
        return same_as_decimal(left, given, rounded)
    return equal(left, right)


def same_as_decimal(exact: Any, decimal: Number, agrees: Callable[[Fraction, Number], bool]) -> bool:
    """Returns whether a decimal is the exact number, or, if no decimal can be, whether it agrees with it."""
    value = exact.evalf(decimal.digits + GUARD_DIGITS)
    if not isinstance(value, (Float, Rational)) or not value.is_finite:
        return False
    approximate = Fraction(str(value))
    if abs(approximate - decimal.value) > abs(decimal.value):  # far off, and not to be worked out in full
        return False
    full = exact.doit()
    if isinstance(full, Rational):
        value = Fraction(int(full.p), int(full.q))
        return value == decimal.value or (not terminates(value) and agrees(value, decimal))
    return agrees(approximate, decimal)


def same_matrix(gold: Basic | MatrixBase, answer: Basic | MatrixBase) -> bool:
    if not (isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase) and gold.shape == answer.shape):
        return False
    return all(same_number(left, right) for left, right in zip(gold.flat(), answer.flat(), strict=True))


def same_expression(gold: Basic | MatrixBase, answer: Basic | MatrixBase) -> bool:
    """Returns whether two expressions with variables are equal. It replaces `grader.sympy_symbolic_eq`."""
    if isinstance(gold, MatrixBase) or isinstance(answer, MatrixBase):
        difference: Any = gold - answer  # pyright: ignore[reportOperatorIssue]
        return simplify(difference).is_zero_matrix is True
    left, right = exactly(gold), exactly(answer)
    if not (isinstance(left, Expr) and isinstance(right, Expr) and left.free_symbols | right.free_symbols):
        return False  # what has no variables has been decided by `same_number`
    return simplify(left - right).is_zero is True


def as_written(expression: Basic) -> Number | None:
    """Returns a decimal, an integer or a fraction with the digits that its Float shows; None for anything else.

    Zeros at the end of a Float are lost, so that it shows fewer digits than the text did, never more.
    """
    factors = Mul.make_args(expression) if isinstance(expression, Mul) else (expression,)
    value, unit, digits, scientific = Fraction(1), None, 0, False
    for factor in factors:
        if isinstance(factor, Float) and unit is None and factor.is_finite:
            mantissa, _, exponent = str(factor).lower().partition("e")
            shown = mantissa.rstrip("0") if "." in mantissa else mantissa
            unit = Fraction(10) ** (int(exponent or 0) - len(shown.partition(".")[2]))
            digits = len(shown.replace(".", "").lstrip("-0"))
            value *= Fraction(str(factor))
        elif isinstance(factor, Rational) and factor.is_finite:
            value *= Fraction(int(factor.p), int(factor.q))
        elif power := power_of_ten(factor):
            value, scientific = value * power, True
        else:
            return None
    if unit is None:
        return Number(value) if len(factors) == 1 else None
    scale = abs(value) / abs(Fraction(str(next(f for f in factors if isinstance(f, Float))))) if value else Fraction(1)
    return Number(value, unit * scale, digits, scientific)


def power_of_ten(factor: Basic) -> Fraction | None:
    if isinstance(factor, Pow) and factor.base == 10 and factor.exp.is_Integer and abs(int(factor.exp)) < MANY_DIGITS:
        return Fraction(10) ** int(factor.exp)
    if isinstance(factor, UnevaluatedExpr) and factor.args[0] == Rational(1, 100):
        return Fraction(1, 100)
    return None


def exactly(expression: Basic) -> Any:
    """Returns the expression with each decimal as a fraction, and the letter i, where it is the only one, as the unit
    of the imaginary numbers."""
    exact = {number: Rational(str(number)) for number in expression.atoms(Float) if number.is_finite}
    letters = expression.free_symbols
    if letters and all(isinstance(letter, Symbol) and letter.name == "i" for letter in letters):
        exact |= dict.fromkeys(letters, I)
    return expression.xreplace(exact) if exact else expression


def equal(left: Any, right: Any) -> bool:
    """Returns whether two exact numbers are equal.

    A difference that can be told from 0 decides at once. Otherwise sympy has to reduce it to 0, or it has to agree
    with 0 to a thousand digits, for the identities that sympy cannot prove.
    """
    difference: Any = Add(left, Mul(-1, right))
    if difference == 0:
        return True
    if surely_not_zero(difference.evalf()):
        return False
    difference = difference.doit()
    if isinstance(difference, Rational):
        return difference == 0
    reduced = simplify(difference)
    if reduced.is_zero is not None:
        return reduced.is_zero
    value = reduced.evalf(maxn=MANY_DIGITS)
    return value.is_finite is True and not surely_not_zero(value)


def surely_not_zero(value: Expr) -> bool:
    """Returns whether a part of a number that sympy has worked out is known to be other than 0."""
    return any(isinstance(part, Float) and part._prec > 1 and part != 0 for part in value.as_real_imag())
