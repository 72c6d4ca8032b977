"""SFT: its numbers by hand, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import evaluate
from tgpo.objectives.sft import SFT
from tgpo.types.problem import GroupComposition, Need


def claim(objective, world):
    """Cross-entropy to the teacher's sequences: `KL(pi_T || pi_theta)` of whole sequences, less a constant."""
    return world.on_theirs(-world.written_ST.log())


def test_by_hand():
    shown = torch.tensor([True, True])
    expected = -(math.log(0.6) + math.log(0.25) + math.log(0.4)) / 3
    assert evaluate(SFT(), off_policy_B=shown)[0] == pytest.approx(expected, rel=1e-12)


def test_rollouts_are_not_trained_on():
    expected = -(math.log(0.6) + math.log(0.25)) / 2
    assert evaluate(SFT(), off_policy_B=torch.tensor([True, False]))[0] == pytest.approx(expected, rel=1e-12)
    assert evaluate(SFT())[0] == 0


def test_asks_for_demonstrations_alone():
    assert SFT().needs == {Need.DEMONSTRATION}
    assert SFT(demonstrations=3).mix(5, 8) == GroupComposition(student=0, demonstrations=3)


def test_at_least_one():
    with pytest.raises(ValueError, match="demonstrations"):
        SFT(demonstrations=0)
