"""Bootstrap intervals by prompt: complete prompts are resampled, with all their responses and tokens.

Tokens of a response depend on one another, and so do responses to a prompt: resampling tokens would count them as
independent, and its interval would be too narrow. Percentile bootstrap (Efron 1979), through `scipy.stats.bootstrap`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tgpo.divergence.request import DivergenceOptions

Array = np.ndarray[Any, Any]
VALUES_AT_ONCE = 4_000_000  # resampled sums in memory at one time


class Ratio(NamedTuple):
    """`sum(numerator_P) / sum(denominator_P)` over prompts: a mean over the tokens or responses of all prompts."""

    numerator_P: Array
    denominator_P: Array


class Pooled(NamedTuple):
    """Values of all tokens (or responses), and the index of each one's prompt."""

    values_N: Array
    prompt_N: Array


class Estimate(NamedTuple):
    """A value with its interval.

    `value` is nan if there is nothing to average; `low` and `high` can also be nan if a resample had nothing.
    """

    value: float
    low: float
    high: float


class Bootstrap:
    """Estimates intervals, all from the same resamples of the prompts."""

    def __init__(self, prompts: int, seed: int, options: DivergenceOptions) -> None:
        self.prompts, self.seed, self.options = prompts, seed, options

    def ratios(self, ratios: Sequence[Ratio]) -> list[Estimate]:
        top_PM = np.stack([np.asarray(r.numerator_P, np.float64) for r in ratios], -1)
        bottom_PM = np.stack([np.asarray(r.denominator_P, np.float64) for r in ratios], -1)

        def statistic(drawn_RP: Array) -> Array:
            with np.errstate(invalid="ignore"):
                return (top_PM[drawn_RP].sum(-2) / bottom_PM[drawn_RP].sum(-2)).T

        return self._estimates(statistic, top_PM.size)

    def percentiles(self, pooled: Pooled, percents: Sequence[int]) -> list[Estimate]:
        """Returns for each percentage the smallest value with at least that percentage of values at or below it."""
        order = np.argsort(pooled.values_N, kind="stable")
        sorted_N, prompt_N = pooled.values_N[order], pooled.prompt_N[order]

        def statistic(drawn_RP: Array) -> Array:
            return np.stack([of_one(drawn_P) for drawn_P in np.atleast_2d(drawn_RP)], -1)

        def of_one(drawn_P: Array) -> Array:
            times_P = np.bincount(drawn_P, minlength=self.prompts)
            running_N = times_P[prompt_N].cumsum()
            if not len(running_N) or running_N[-1] == 0:
                return np.full(len(percents), np.nan)
            # rounded up in integers: in floating point, 0.07 * 100 is more than 7
            return sorted_N[[np.searchsorted(running_N, -(-percent * running_N[-1] // 100)) for percent in percents]]

        return self._estimates(statistic, self.prompts)

    def _estimates(self, statistic: Callable[[Array], Array], size: int) -> list[Estimate]:
        """Returns M estimates. `statistic` maps indices of prompts `[R,P]` to values `[M,R]`."""
        from scipy import stats

        def along(drawn_RP: Array, axis: int) -> Array:
            return statistic(np.atleast_2d(drawn_RP))

        everyone_P = np.arange(self.prompts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # about nan, which the output marks
            interval = stats.bootstrap(
                (everyone_P,),
                along,
                n_resamples=self.options.resamples,
                batch=max(1, VALUES_AT_ONCE // max(1, size)),
                vectorized=True,
                confidence_level=self.options.level / 100,
                method="percentile",
                rng=np.random.default_rng(self.seed),
            ).confidence_interval
        values_M = statistic(everyone_P[None])[:, 0]
        return [Estimate(*map(float, row)) for row in zip(values_M, interval.low, interval.high, strict=True)]
