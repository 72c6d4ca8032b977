"""Intervals, tests and probabilities over seeds. docs/statistics.md says why these, and how often the intervals cover.

Everything is scipy's, Holm's adjustment statsmodels'. An interval that cannot be had is (NaN, NaN): of one run, say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tgpo.report.arms import Arm

LEVEL = 0.95
RESAMPLES, SEED = 9999, 0  # of the bootstrap
TRIM = 0.25  # of each tail: the interquartile mean
NOTHING = (float("nan"), float("nan"))
Interval = tuple[float, float]


def mean_interval(values_N: np.ndarray) -> Interval:
    """Student's t."""
    if len(values_N) < 2:
        return NOTHING
    return bounds(stats.ttest_1samp(values_N, 0.0).confidence_interval(LEVEL))


def interquartile_mean(values_N: np.ndarray, axis: int = -1) -> Any:
    """The mean without the lowest and the highest quarter, whole runs at a time: of five, the middle three."""
    return stats.trim_mean(values_N, TRIM, axis=axis)


def interquartile_interval(values_N: np.ndarray) -> Interval:
    """Tukey and McLaughlin's t of a trimmed mean, whose standard error is that of the winsorised sample.

    scipy divides by the nominal half that remains; where fewer can be cut (three of five remain), that is on the wide
    side, and what makes it cover at n = 5. Where all but the tails are ties it would have no width, so there is none.
    """
    if len(values_N) < 2 or np.ptp(stats.mstats.winsorize(values_N, limits=(TRIM, TRIM))) == 0:
        return NOTHING
    low, high = stats.mstats.trimmed_mean_ci(values_N, limits=(TRIM, TRIM), alpha=1 - LEVEL)
    return float(low), float(high)


def probability_of_improvement(arm_N: np.ndarray, baseline_M: np.ndarray, axis: int = -1) -> Any:
    """P(a run of the arm > a run of the baseline), ties counted half (Agarwal et al. 2021, arXiv 2108.13264)."""
    assert axis == -1
    arm_NM, baseline_NM = arm_N[..., :, None], baseline_M[..., None, :]
    return ((arm_NM > baseline_NM) + 0.5 * (arm_NM == baseline_NM)).mean(axis=(-2, -1))


def probability_interval(arm_N: np.ndarray, baseline_M: np.ndarray) -> Interval:
    """Percentile bootstrap, stratified: each arm is resampled within itself."""
    if min(len(arm_N), len(baseline_M)) < 2:
        return NOTHING
    found = stats.bootstrap(
        (arm_N, baseline_M), probability_of_improvement, n_resamples=RESAMPLES, vectorized=True, paired=False,
        confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(SEED), batch=1000,
    )  # fmt: skip
    return bounds(found.confidence_interval)


def bootstrap_interval(values_N: np.ndarray, statistic: Any) -> Interval:
    """Percentile bootstrap, as published comparisons give it; too narrow at five runs, so nothing here rests on it."""
    if len(values_N) < 2:
        return NOTHING
    found = stats.bootstrap(
        (values_N,), statistic, n_resamples=RESAMPLES, vectorized=True, confidence_level=LEVEL, method="percentile",
        rng=np.random.default_rng(SEED), batch=1000,
    )  # fmt: skip
    return bounds(found.confidence_interval)


def paired_p(differences_N: np.ndarray) -> float:
    """Of Student's paired t test, so that it agrees with the interval of the mean difference."""
    if len(differences_N) < 2:
        return float("nan")
    if np.ptp(differences_N) == 0:  # no spread to test against
        return float("nan") if differences_N[0] else 1.0
    _, p = stats.ttest_1samp(differences_N, 0.0)
    return float(p)


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
    least, most = (0.0, 1.0) if is_fraction(metric) else (-np.inf, np.inf)
    row: dict[str, Any] = {"metric": metric, "arm": arm, "runs": len(values_N)}
    if len(values_N):
        row |= {"mean": values_N.mean(), **ends("mean", point_or(mean_interval, values_N), least, most)}
        iqm = point_or(interquartile_interval, values_N)
        row |= {"iqm": interquartile_mean(values_N), **ends("iqm", iqm, least, most)}
        if "accuracy" in metric:
            row |= ends("iqm_bootstrap", bootstrap_interval(values_N, interquartile_mean))
    row |= {"baseline": baseline.label if baseline else None, "p": float("nan")}
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
        found |= {"difference": difference_N.mean(), **ends("difference", point_or(mean_interval, difference_N))}
        found |= {"p": paired_p(difference_N), "p_sign_flip": sign_flip_p(difference_N)}
    return found


def unpaired(arm_N: np.ndarray, baseline_M: np.ndarray) -> dict[str, Any]:
    """Every run against every other."""
    if not (len(arm_N) and len(baseline_M)):
        return {}
    probability = float(probability_of_improvement(arm_N, baseline_M))
    return {"probability": probability, **ends("probability", probability_interval(arm_N, baseline_M))}


def point_or(interval: Any, values_N: np.ndarray) -> Interval:
    """The interval of a sample without any spread is its one value."""
    if len(values_N) > 1 and np.ptp(values_N) == 0:
        return float(values_N[0]), float(values_N[0])
    return interval(values_N)


def is_fraction(metric: str) -> bool:
    """Its interval ends at 0 and at 1: what lies beyond covers nothing."""
    return "accuracy" in metric or metric == "truncated"


def ends(name: str, interval: Interval, least: float = -np.inf, most: float = np.inf) -> dict[str, float]:
    low, high = np.clip(interval, least, most)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def bounds(interval: Any) -> Interval:
    return float(interval.low), float(interval.high)
