"""SDFT is SDPO's class with the defaults of SDFT's code: the forward KL, where its paper writes the reverse."""

from __future__ import annotations

import math

import pytest
import torch

from tests.laws.variants import build
from tests.objectives.test_sdpo import claim, stops_gradient
from tgpo.types.problem import Need

__all__ = ["claim", "stops_gradient"]  # what `tests/laws` reads


def test_by_hand():
    """Teacher (0.75, 0.25), student (0.5, 0.5)."""
    ours, theirs = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.5], [0.75, 0.25]))
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(2)
    assert build("sdft").divergence(ours, theirs).item() == pytest.approx(forward, rel=1e-12)
    assert build("sdft beta=1").divergence(ours, theirs).item() == pytest.approx(reverse, rel=1e-12)


def test_asks_for_the_complete_distributions_alone():
    assert build("sdft").needs == {Need.TEACHER_FULL}


def test_refuses_a_tail_without_a_topk():
    with pytest.raises(Exception, match="tail"):
        build("sdft tail=false")
