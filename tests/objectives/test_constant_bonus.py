"""The control for tgpo_adv: the same numbers with a constant, and the same claim."""

from __future__ import annotations

import pytest

from tests.objectives.by_hand import ADVANTAGE, evaluate
from tgpo.objectives.constant_bonus import ConstantBonus


def claim(objective, world):
    return world.minus_success(objective)


def test_by_hand():
    control = -(1.2 * (ADVANTAGE + 0.4) + (ADVANTAGE + 0.4) + 0.8 * (-ADVANTAGE + 0.4)) / 3
    assert evaluate(ConstantBonus(weight=(0.4, 0.0, 0.0)))[0] == pytest.approx(control, rel=1e-12)
    twice = evaluate(ConstantBonus(weight=(0.2, 0.0, 0.0), bonus=2.0))[0]
    assert twice == pytest.approx(control, rel=1e-12)
