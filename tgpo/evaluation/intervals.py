"""Confidence intervals of a benchmark's mean over other problems of its kind, by a bootstrap over PROBLEMS.

Samples of one problem are not independent: 30 problems sampled 32 times are 30 observations, not 960.
"""

from __future__ import annotations

from collections.abc import Sequence

LEVEL, RESAMPLES = 0.95, 9_999
AT_ONCE = 2_000_000  # resampled values held in memory at a time


def mean_interval(by_problem: Sequence[float], seed: int) -> tuple[float, float] | None:
    """Returns the percentile interval of the mean, from one value per problem.

    None if all values are the same: resampling cannot draw others, and an interval of zero width would claim certainty.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len(set(by_problem)) < 2:
        return None
    interval = bootstrap(
        (np.asarray(by_problem, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(by_problem)),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
