"""TGPO's reward shaping: its numbers by hand, and that its bonus claims nothing."""

from __future__ import annotations

import pytest

from tests.objectives.by_hand import ADVANTAGE, evaluate
from tgpo.objectives.tgpo_adv import TGPOAdvantage
from tgpo.types.problem import Need


def claim(objective, world):
    """The probability of being right, and nothing else: the bonus does not depend on the token sampled."""
    return world.minus_success(objective)


def test_by_hand():
    published = -(1.2 * (ADVANTAGE + 0.4 * 0.3) + (ADVANTAGE + 0.4 * 0.5) + 0.8 * (-ADVANTAGE + 0.4 * 0.7)) / 3
    assert evaluate(TGPOAdvantage(weight=(0.4, 0.0, 0.0)))[0] == pytest.approx(published, rel=1e-12)


def test_needs_what_the_policy_thought_of_the_teachers_token():
    assert TGPOAdvantage().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.OLD_AT_TEACHER_TOPK}
