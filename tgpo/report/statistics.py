"""Intervals, tests and probabilities over seeds. docs/statistics.md gives the reasons for them and their coverage.

The intervals and tests are scipy's; Holm's adjustment is that of statsmodels.
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
RESAMPLES, SEED = 9999, 0  # of the bootstrap and of the sign-flip test
TRIM = 0.25  # the fraction cut from each tail, which makes the interquartile mean
Interval = tuple[Any, Any]  # (low, high): numbers, or arrays for a batch of samples, `[..., N]`


def mean_interval(values_N: np.ndarray) -> Interval:
    """Returns Student's t interval of the mean."""
    return bounds(stats.ttest_1samp(values_N, 0.0, axis=-1).confidence_interval(LEVEL))


def interquartile_mean(values_N: np.ndarray, axis: int = -1) -> Any:
    """Returns the mean without the lowest and highest quarter, rounded down to full runs: of five, the middle three."""
    return stats.trim_mean(values_N, TRIM, axis=axis)


def interquartile_interval(values_N: np.ndarray) -> Interval:
    """Returns Tukey and McLaughlin's t interval of a trimmed mean, with the winsorised sample's standard error.

    scipy divides by one half, the nominal fraction that remains. Where fewer runs can be cut (three of five remain),
    this makes the interval wider, which is why it covers at n = 5.
    """
    low, high = stats.mstats.trimmed_mean_ci(values_N, limits=(TRIM, TRIM), alpha=1 - LEVEL, axis=-1)
    return np.asarray(low), np.asarray(high)


def probability_of_improvement(arm_N: np.ndarray, baseline_M: np.ndarray, axis: int = -1) -> Any:
    """Returns P(a run of the arm > one of the baseline), ties counted half (Agarwal et al. 2021, arXiv 2108.13264)."""
    assert axis == -1
    arm_NM, baseline_NM = arm_N[..., :, None], baseline_M[..., None, :]
    return ((arm_NM > baseline_NM) + 0.5 * (arm_NM == baseline_NM)).mean(axis=(-2, -1))


def bootstrap_interval(
    samples: Sequence[np.ndarray], statistic: Any, method: Any = "percentile", resamples: int = RESAMPLES
) -> Interval:
    """Returns a stratified bootstrap interval: each sample, which is the runs of one arm, is resampled separately.

    With BCa it is NaN where all resamples have the same statistic.
    """
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the NaN reports it
        result = stats.bootstrap(
            samples, statistic, axis=-1, n_resamples=resamples, vectorized=True, paired=False, confidence_level=LEVEL,
            method=method, rng=np.random.default_rng(SEED), batch=max(1, 1000 // max(1, samples[0].size // 30)),
        )  # fmt: skip
    return bounds(result.confidence_interval)


def alike(values_N: np.ndarray) -> bool:
    """Returns whether all values agree up to rounding, which can make equal differences of accuracies differ."""
    return bool(np.ptp(values_N) <= 1e-9 * np.abs(values_N).max())


def paired_p(differences_N: np.ndarray) -> float:
    """Returns the p-value of Student's paired t test, which agrees with the interval of the mean difference."""
    if len(differences_N) < 2:
        return float("nan")
    if alike(differences_N):  # without spread the t statistic is undefined
        return float("nan") if differences_N[0] else 1.0
    return float(np.asarray(stats.ttest_1samp(differences_N, 0.0))[1])


def sign_flip_p(differences_N: np.ndarray) -> float:
    """Returns the p-value of the sign-flip test: the share of sign patterns with a mean at least as far from 0.

    Exact where 2^n is at most `RESAMPLES`, and never below 2 / 2^n.
    """
    if len(differences_N) < 2:
        return float("nan")
    result = stats.permutation_test(
        (differences_N,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(result.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for all comparisons of one metric; a NaN, which was not compared, is not counted."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        adjusted[tested] = multipletests(np.asarray(p)[tested], method="holm")[1]
    return adjusted.tolist()


def compare(runs: pd.DataFrame, metrics: Sequence[str], arms: Sequence[Arm], baselines: Mapping[str, Arm]) -> Any:
    """Returns a row per metric and arm.

    `runs` has a row per counted run: `arm`, `seed` and the metrics; each (arm, seed) occurs once.
    """
    rows = []
    for metric in metrics:
        table = runs.pivot(index="seed", columns="arm", values=metric)
        block = [describe(table, metric, arm.label, baselines.get(arm.label)) for arm in arms if arm.label in table]
        for row, adjusted in zip(block, holm([row["p"] for row in block]), strict=True):
            row["p_holm"] = adjusted
        rows += block
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame, metric: str, arm: str, baseline: Arm | None) -> dict[str, Any]:
    """Returns an arm's row of `compare`; `table` has a row per seed and a column per arm."""
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
    """Returns the paired statistics over the seeds that both arms have."""
    difference_N = (arm - baseline).dropna().to_numpy(float)
    row: dict[str, Any] = {"pairs": len(difference_N)}
    if len(difference_N):
        row |= {"difference": difference_N.mean(), **ends("difference", mean_interval, difference_N)}
        row |= {"p": paired_p(difference_N), "p_sign_flip": sign_flip_p(difference_N)}
    return row


def unpaired(arm_N: np.ndarray, baseline_M: np.ndarray) -> dict[str, Any]:
    """Returns the probability of improvement, over all pairs of a run of the arm and one of the baseline."""
    if not (len(arm_N) and len(baseline_M)):
        return {}
    row: dict[str, Any] = {"probability": float(probability_of_improvement(arm_N, baseline_M))}
    if min(len(arm_N), len(baseline_M)) > 1:
        low, high = bootstrap_interval((arm_N, baseline_M), probability_of_improvement, "BCa")
        row |= {"probability_low": float(low), "probability_high": float(high)}
    return row


def is_fraction(metric: str) -> bool:
    """Returns whether a metric is a fraction, whose interval is clipped to 0 and 1: no value lies beyond."""
    return "accuracy" in metric or metric == "truncated"


def ends(
    name: str, interval: Callable[[np.ndarray], Interval], values_N: np.ndarray, least: float = -np.inf,
    most: float = np.inf,
) -> dict[str, float]:  # fmt: skip
    """Returns the interval's ends, clipped to `least` and `most`.

    They are NaN where there is no interval: for a single run, and where all values but those of the trimmed tails are
    equal, so that the interval would have no width.
    """
    low = high = float("nan")
    if len(values_N) > 1:
        spread = not alike(values_N)
        low, high = interval(values_N) if spread else (values_N[0], values_N[0])
        if spread and low == high:
            low = high = float("nan")
    return {f"{name}_low": float(np.clip(low, least, most)), f"{name}_high": float(np.clip(high, least, most))}


def bounds(interval: Any) -> Interval:
    return interval.low, interval.high
