"""Intervals, tests and probabilities over seeds. docs/statistics.md says why these, and how often the intervals cover.

Everything is scipy's, Holm's adjustment statsmodels'.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tgpo.report.arms import Arm

LEVEL = 0.95
RESAMPLES, SEED = 9999, 0  # of the bootstrap
TRIM = 0.25  # of each tail: the interquartile mean
Interval = tuple[Any, Any]  # numbers, or arrays of them: the intervals take a batch of samples, `[..., N]`


def mean_interval(values_N: np.ndarray) -> Interval:
    """Student's t."""
    return bounds(stats.ttest_1samp(values_N, 0.0, axis=-1).confidence_interval(LEVEL))


def interquartile_mean(values_N: np.ndarray, axis: int = -1) -> Any:
    """The mean without the lowest and the highest quarter, whole runs at a time: of five, the middle three."""
    return stats.trim_mean(values_N, TRIM, axis=axis)


def interquartile_interval(values_N: np.ndarray) -> Interval:
    """Tukey and McLaughlin's t of a trimmed mean, whose standard error is that of the winsorised sample.

    scipy divides by the nominal half that remains; where fewer can be cut (three of five remain), that is on the wide
    side, and what makes it cover at n = 5.
    """
    low, high = stats.mstats.trimmed_mean_ci(values_N, limits=(TRIM, TRIM), alpha=1 - LEVEL, axis=-1)
    return np.asarray(low), np.asarray(high)


def probability_of_improvement(arm_N: np.ndarray, baseline_M: np.ndarray, axis: int = -1) -> Any:
    """P(a run of the arm > a run of the baseline), ties counted half (Agarwal et al. 2021, arXiv 2108.13264)."""
    assert axis == -1
    arm_NM, baseline_NM = arm_N[..., :, None], baseline_M[..., None, :]
    return ((arm_NM > baseline_NM) + 0.5 * (arm_NM == baseline_NM)).mean(axis=(-2, -1))


def bootstrap_interval(
    samples: Sequence[np.ndarray], statistic: Any, method: Any = "percentile", resamples: int = RESAMPLES
) -> Interval:
    """Stratified: each sample, an arm's runs, is resampled within itself. NaN where no resample differs (BCa)."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # NaN says it
        found = stats.bootstrap(
            samples, statistic, axis=-1, n_resamples=resamples, vectorized=True, paired=False, confidence_level=LEVEL,
            method=method, rng=np.random.default_rng(SEED), batch=max(1, 1000 // max(1, samples[0].size // 30)),
        )  # fmt: skip
    return bounds(found.confidence_interval)


def alike(values_N: np.ndarray) -> bool:
    """But for rounding: the difference of two accuracies comes out as one fraction by several roads."""
    return bool(np.ptp(values_N) <= 1e-9 * np.abs(values_N).max())


def paired_p(differences_N: np.ndarray) -> float:
    """Of Student's paired t test, so that it agrees with the interval of the mean difference."""
    if len(differences_N) < 2:
        return float("nan")
    if alike(differences_N):  # no spread to test against
        return float("nan") if differences_N[0] else 1.0
    return float(np.asarray(stats.ttest_1samp(differences_N, 0.0))[1])


def sign_flip_p(differences_N: np.ndarray) -> float:
    """Exact where 2^n is small: the share of sign patterns with a mean at least as far from 0. Never below 2 / 2^n."""
    if len(differences_N) < 2:
        return float("nan")
    found = stats.permutation_test(
        (differences_N,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(found.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted for all the comparisons of one metric; a comparison that could not be made is not one of them."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        adjusted[tested] = multipletests(np.asarray(p)[tested], method="holm")[1]
    return adjusted.tolist()


def compare(runs: pd.DataFrame, metrics: Sequence[str], arms: Sequence[Arm], baselines: Mapping[str, Arm]) -> Any:
    """A row a metric and arm. `runs` has a row a counted run: `arm`, `seed` and the metrics; each (arm, seed) once."""
    rows = []
    for metric in metrics:
        table = runs.pivot(index="seed", columns="arm", values=metric)
        block = [describe(table, metric, arm.label, baselines.get(arm.label)) for arm in arms if arm.label in table]
        for row, adjusted in zip(block, holm([row["p"] for row in block]), strict=True):
            row["p_holm"] = adjusted
        rows += block
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame, metric: str, arm: str, baseline: Arm | None) -> dict[str, Any]:
    """`table` has a row a seed and a column an arm."""
    values_N = table[arm].dropna().to_numpy(float)
    row: dict[str, Any] = {"metric": metric, "arm": arm, "runs": len(values_N)}
    row |= {"baseline": baseline.label if baseline else None, "p": float("nan")}
    if len(values_N):
        least, most = (0.0, 1.0) if is_fraction(metric) else (-np.inf, np.inf)
        row |= {"mean": values_N.mean(), **ends("mean", mean_interval, values_N, least, most)}
        row |= {"iqm": interquartile_mean(values_N), **ends("iqm", interquartile_interval, values_N, least, most)}
        if "accuracy" in metric:
            row |= ends("iqm_bootstrap", lambda v_N: bootstrap_interval((v_N,), interquartile_mean), values_N)
    if baseline is None or baseline.label == arm or baseline.label not in table:
        return row
    row |= paired(table[arm], table[baseline.label])
    if "accuracy" in metric:
        row |= unpaired(values_N, table[baseline.label].dropna().to_numpy(float))
    return row


def paired(arm: pd.Series, baseline: pd.Series) -> dict[str, Any]:
    """Over the seeds that both have."""
    difference_N = (arm - baseline).dropna().to_numpy(float)
    found: dict[str, Any] = {"pairs": len(difference_N)}
    if len(difference_N):
        found |= {"difference": difference_N.mean(), **ends("difference", mean_interval, difference_N)}
        found |= {"p": paired_p(difference_N), "p_sign_flip": sign_flip_p(difference_N)}
    return found


def unpaired(arm_N: np.ndarray, baseline_M: np.ndarray) -> dict[str, Any]:
    """Every run against every other."""
    if not (len(arm_N) and len(baseline_M)):
        return {}
    found: dict[str, Any] = {"probability": float(probability_of_improvement(arm_N, baseline_M))}
    if min(len(arm_N), len(baseline_M)) > 1:
        low, high = bootstrap_interval((arm_N, baseline_M), probability_of_improvement, "BCa")
        found |= {"probability_low": float(low), "probability_high": float(high)}
    return found


def is_fraction(metric: str) -> bool:
    """Its interval ends at 0 and at 1: what lies beyond covers nothing."""
    return "accuracy" in metric or metric == "truncated"


def ends(
    name: str, interval: Callable[[np.ndarray], Interval], values_N: np.ndarray, least: float = -np.inf,
    most: float = np.inf,
) -> dict[str, float]:  # fmt: skip
    """NaN where there is none: of one run, or where all but the tails are ties and the interval would have no width."""
    low = high = float("nan")
    if len(values_N) > 1:
        spread = not alike(values_N)
        low, high = interval(values_N) if spread else (values_N[0], values_N[0])
        if spread and low == high:
            low = high = float("nan")
    return {f"{name}_low": float(np.clip(low, least, most)), f"{name}_high": float(np.clip(high, least, most))}


def bounds(interval: Any) -> Interval:
    return interval.low, interval.high
