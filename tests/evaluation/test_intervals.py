"""Intervals by problem: what they cover, and what samples of one problem are not worth."""

from __future__ import annotations

import numpy as np
import pytest

from tgpo.evaluation import intervals
from tgpo.evaluation.intervals import mean_interval


def test_the_interval_is_repeatable_and_holds_the_mean():
    values = np.random.default_rng(0).random(50).tolist()
    low, high = mean_interval(values, 0) or (1, 0)
    assert low < np.mean(values) < high
    assert mean_interval(values, 0) == (low, high)
    assert mean_interval(values, 1) != (low, high)


@pytest.mark.parametrize("values", [[], [0.5], [1.0] * 30])
def test_no_interval_where_there_is_nothing_to_resample(values):
    assert mean_interval(values, 0) is None


def test_it_is_the_normal_one_where_that_holds():
    """400 problems of which 100 are right: 0.25 +- 1.96 sqrt(0.25 0.75 / 400) = 0.25 +- 0.0424."""
    low, high = mean_interval([1.0] * 100 + [0.0] * 300, 0) or (0, 0)
    assert (low, high) == pytest.approx((0.2076, 0.2924), abs=0.004)  # steps of 1/400, and noise of 9,999 resamples


@pytest.fixture
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 999)


def coverage(by_problem: bool) -> float:
    """How often the interval holds the true mean: 30 problems of their own difficulty, 32 samples of each."""
    draws, held = np.random.default_rng(0), 0
    for trial in range(200):
        difficulty = draws.beta(0.5, 0.5, 30)  # mean 0.5: some are nearly always right, some nearly never
        right = draws.random((30, 32)) < difficulty[:, None]
        values = right.mean(1) if by_problem else right.flatten().astype(float)
        low, high = mean_interval(values.tolist(), trial) or (0, 0)
        held += low <= 0.5 <= high
    return held / 200


@pytest.mark.usefixtures("fewer_resamples")
def test_coverage_by_problem():
    """0.95 is claimed. The percentile bootstrap of 30 values is a little narrow (by sqrt(29/30), and by z for t:
    0.935), and 200 trials have a standard error of 0.017: three of them below."""
    assert coverage(by_problem=True) >= 0.88


@pytest.mark.usefixtures("fewer_resamples")
def test_resampling_samples_instead_of_problems_would_be_far_too_sure():
    """The planted fault: 960 samples taken for independent ones."""
    assert coverage(by_problem=False) < 0.5
