"""`python -m experiments.coverage` measures how often the report's 95 % intervals cover the truth.

Samples are drawn from distributions whose mean, interquartile mean and probability of improvement are known, a
thousand per cell. It writes results/coverage/coverage.csv and the tables in docs/statistics.md; `make docs` calls it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.sweeps import ROOT
from tgpo.errors import Parser
from tgpo.report import statistics as ours
from tgpo.report.markdown import fill
from tgpo.runs.files import write_whole

RESULTS, DOCS = ROOT / "results" / "coverage", ROOT / "docs" / "statistics.md"
REPETITIONS, SIZES = 1000, (3, 5, 10, 30)
RESAMPLES = 999
Draw = Callable[[np.random.Generator, Any], np.ndarray]


def collapsing(rng: np.random.Generator, shape: Any) -> np.ndarray:
    """Draws results of which one in five is near 0.1 and the others near 0.9."""
    return np.where(rng.random(shape) < 0.2, rng.normal(0.1, 0.05, shape), rng.normal(0.9, 0.02, shape))


def accuracy(rng: np.random.Generator, shape: Any) -> np.ndarray:
    """Draws accuracies on 192 problems (the tiny benchmark's): ties are common, runs differ beyond binomial noise."""
    return rng.binomial(192, rng.beta(93, 7, shape)) / 192


DRAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "accuracy on 192 problems": accuracy,
    "heavy tails (t, 3 degrees)": lambda rng, shape: rng.standard_t(3, shape),
    "skewed (gamma, shape 2)": lambda rng, shape: rng.gamma(2.0, size=shape),
    "difference of two skewed": lambda rng, shape: rng.gamma(2.0, size=shape) - rng.gamma(2.0, size=shape),
    "one run in five collapses": collapsing,
    "difference of one such arm and a steady one": lambda rng, shape: (
        collapsing(rng, shape) - rng.normal(0.9, 0.02, shape)
    ),
}
SHIFTS = {"two equal normals": 0.0, "half a deviation apart": 0.5, "one and a half apart": 1.5}


def bootstrap(statistic: Any, method: str) -> Callable[[np.ndarray], ours.Interval]:
    return lambda values_RN: ours.bootstrap_interval((values_RN,), statistic, method, RESAMPLES)


def bootstrap_t(values_RN: np.ndarray) -> ours.Interval:
    """Returns the interval from quantiles of the resampled t statistic; a resample without spread is left out."""
    mean_R, error_R = values_RN.mean(-1), stats.sem(values_RN, axis=-1)

    def statistic(sample: np.ndarray, axis: int) -> np.ndarray:
        return sample.mean(axis) / stats.sem(sample, axis=axis)

    result = stats.bootstrap(
        (values_RN - mean_R[:, None],), statistic, axis=-1, n_resamples=RESAMPLES, vectorized=True, batch=100,
        method="percentile", rng=np.random.default_rng(ours.SEED),
    )  # fmt: skip
    drawn = np.where(np.isfinite(result.bootstrap_distribution), result.bootstrap_distribution, np.nan)
    low_R, high_R = np.nanquantile(drawn, [0.025, 0.975], axis=-1)
    return mean_R - high_R * error_R, mean_R - low_R * error_R


# the first of each is the one that the report uses
MEAN = {"Student's t": ours.mean_interval, "percentile": bootstrap(np.mean, "percentile"),
        "BCa": bootstrap(np.mean, "BCa"), "bootstrap-t": bootstrap_t}  # fmt: skip
IQM = {"trimmed t": ours.interquartile_interval, "percentile": bootstrap(ours.interquartile_mean, "percentile"),
       "BCa": bootstrap(ours.interquartile_mean, "BCa")}  # fmt: skip


def truths(draw: Draw) -> dict[str, float]:
    sample = draw(np.random.default_rng(1), 2_000_000)
    return {"mean": float(sample.mean()), "IQM": float(ours.interquartile_mean(sample))}


def covering(interval: ours.Interval, truth: float) -> dict[str, float]:
    """Returns the share of samples without an interval, and of the others the share whose interval holds the truth.

    An interval without width counts as none, as it does in the report (`statistics.ends`).
    """
    low, high = (np.asarray(end) for end in interval)
    exists = np.isfinite(low) & np.isfinite(high) & (low < high)
    return {"none": float((~exists).mean()), "coverage": float(((low <= truth) & (truth <= high))[exists].mean())}


def of_one_sample(quantity: str, methods: dict[str, Any], repetitions: int = REPETITIONS) -> Iterator[dict[str, Any]]:
    for name, draw in DRAWS.items():
        truth = truths(draw)[quantity]
        for n in SIZES:
            values_RN = draw(np.random.default_rng(n), (repetitions, n))
            for method, interval in methods.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # from samples of equal values, without an interval
                    found = covering(interval(values_RN), truth)
                yield {"quantity": quantity, "runs": name, "n": n, "method": method, **found}


def of_two_samples(methods: tuple[str, ...] = ("BCa", "percentile")) -> Iterator[dict[str, Any]]:
    """Yields the coverage of the probability of improvement, which is known for normals that differ by a shift."""
    for name, shift in SHIFTS.items():
        truth = float(stats.norm.cdf(shift / np.sqrt(2)))
        for n in SIZES:
            rng = np.random.default_rng(n)
            samples = rng.normal(shift, 1, (REPETITIONS, n)), rng.normal(0, 1, (REPETITIONS, n))
            for method in methods:
                interval = ours.bootstrap_interval(samples, ours.probability_of_improvement, method, RESAMPLES)
                row = {"quantity": "P(better)", "runs": name, "n": n, "method": method}
                yield row | covering(interval, truth)


def markdown(found: pd.DataFrame, quantity: str) -> str:
    """Returns a row per distribution, a column per method: coverage in % at each n, in brackets % without interval."""
    rows = found[found["quantity"] == quantity]
    methods = list(dict.fromkeys(rows["method"]))
    lines = [f"| runs | {' | '.join(methods)} |", "| --- " * (1 + len(methods)) + "|"]
    for name, of in rows.groupby("runs", sort=False):
        by = {(str(row["method"]), int(row["n"])): row for row in of.to_dict("records")}
        cells = [", ".join(percent(by[method, n]) for n in SIZES) for method in methods]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def percent(row: dict[str, Any]) -> str:
    none = f" ({row['none'] * 100:.0f})" if row["none"] > 0.005 else ""
    return f"{row['coverage'] * 100:.1f}{none}"


def main() -> None:
    Parser(prog="python -m experiments.coverage", description=__doc__).parse_args()
    cells = [*of_one_sample("mean", MEAN), *of_one_sample("IQM", IQM), *of_two_samples()]
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "coverage.csv", pd.DataFrame(cells).to_csv(index=False, float_format="%.4g"))
    found = pd.read_csv(RESULTS / "coverage.csv")
    for quantity in ("mean", "IQM", "P(better)"):
        table = markdown(found, quantity)
        fill(DOCS, quantity, table)
        print(table)


if __name__ == "__main__":
    main()
