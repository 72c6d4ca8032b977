"""How far a benchmark's mean would move with other problems of its kind: a bootstrap over PROBLEMS.

Samples of one problem are no independent evidence: 30 problems sampled 32 times are 30 observations and not 960.
"""

from __future__ import annotations

from collections.abc import Sequence

LEVEL, RESAMPLES = 0.95, 9_999
AT_ONCE = 2_000_000  # draws held in memory together


def mean_interval(by_problem: Sequence[float], seed: int) -> tuple[float, float] | None:
    """The percentile interval of the mean of one value a problem.

    None where all values are the same: resampling knows no others, and an interval without width would claim certainty.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len(set(by_problem)) < 2:
        return None
    found = bootstrap(
        (np.asarray(by_problem, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(by_problem)),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
