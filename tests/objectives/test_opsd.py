"""OPSD is SDPO's class with the defaults of OPSD's code: a forward KL whose entries are cut."""

from __future__ import annotations

import math

import pytest
import torch

from tests.laws.variants import build
from tests.objectives.test_sdpo import claim, stops_gradient
from tgpo.types.problem import Need

__all__ = ["claim", "stops_gradient"]  # what `tests/laws` reads


def test_by_hand():
    """Teacher (0.5, 0.3, 0.2), student (0.4, 0.3, 0.3): 0.5 log 1.25 = 0.112 is cut at 0.05, the other two stay."""
    ours, theirs = (torch.tensor([p], dtype=torch.float64).log() for p in ([0.4, 0.3, 0.3], [0.5, 0.3, 0.2]))
    found = build("opsd").divergence(ours, theirs).item()
    assert found == pytest.approx(0.05 + 0 + 0.2 * math.log(0.2 / 0.3), rel=1e-12)


def test_asks_for_the_complete_distributions_alone():
    assert build("opsd").needs == {Need.TEACHER_FULL}


def test_refuses_a_clip_of_nothing():
    with pytest.raises(Exception, match="entry_clip"):
        build("opsd entry_clip=0")
