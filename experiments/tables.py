"""Makes an experiment's table and figure from `runs.csv` alone; `Experiment` describes how its runs are grouped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from experiments.sweeps import ROOT
from tgpo.report.figures import COLOURS, HEIGHT, to_svg
from tgpo.report.statistics import alike, ends, holm, is_fraction, mean_interval, paired
from tgpo.report.sweep_page import format_number, p_value

FORMATS = {
    "final accuracy": ".3f", "mean accuracy": ".3f", "lowest accuracy": ".3f", "final length": ".1f",
    "truncated": ".3f", "reverse KL": ".2f",
    "gradient norm": ".2f", "gradient variance": "3 digits", "generated tokens": "3 digits",
    "tokens the teacher scored": "3 digits", "tokens the teacher wrote": "3 digits", "seconds of steps": "3 digits",
    "first length": ".1f", "longest": ".1f",
}  # fmt: skip
QUALITY = tuple(FORMATS)[1:8]
COST = (
    "mean accuracy", "generated tokens", "tokens the teacher scored", "tokens the teacher wrote", "seconds of steps",
)  # fmt: skip
LENGTH = ("lowest accuracy", "first length", "longest", "final length", "truncated", "reverse KL")
PANEL_NAME = alt.Header(title=None, labelFontSize=12, labelFontWeight=500)
FEW = 2  # for so few runs an interval is too wide to be of use, and is left out


@dataclass(frozen=True)
class Experiment:
    """Describes how the runs of an experiment are grouped.

    Args:
        name: the name of its folder here and in `results/`.
        rows: the options that name a row of the table: `objective`, or dotted options.
        across: an option, or a number of the run, that is the second axis of the table and the figure's x; or none.
        baseline: the row that the others are compared with, seed by seed.
        sweeps: the sweeps of `conf/experiment` that it is read from, by default the one of its own name.
        own: how many of these, counted from the first, are its own sweeps. From the others it takes the rows and seeds
            that its own have, so that cells which another experiment has already run are not run again.
        first: the sweep of `conf/experiment` that has to be run before.
        only: the rows to keep, from all sweeps; by default those of its own.
        numbers: the columns of the table besides the final accuracy.
        order: a number of the run. Its mean, over the seeds that all values of `across` have, comes before the value in
            the value's name, and determines the order of the values.
        unit: the title of the axis of `across` in the figure.
        log: whether x is on a logarithmic scale.
    """

    name: str
    rows: tuple[str, ...] = ("objective",)
    across: str | None = None
    baseline: str | None = None
    sweeps: tuple[str, ...] = ()
    own: int = 1
    first: str | None = None
    only: tuple[str, ...] = ()
    numbers: tuple[str, ...] = QUALITY
    order: str | None = None
    unit: str = ""
    log: bool = False

    @property
    def folder(self) -> Path:
        return ROOT / "results" / self.name

    @property
    def sources(self) -> tuple[str, ...]:
        return self.sweeps or (self.name,)

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.rows, *([self.across] if self.across else []))


def label(values: Sequence[Any], keys: Sequence[str]) -> str:
    """Returns a name such as `tgpo reward=False`; options that an objective does not have are left out."""
    return " ".join(
        value if key == "objective" else f"{key.rsplit('.', 1)[-1]}={value}"
        for key, value in zip(keys, map(text, values), strict=True)
        if value not in ("None", "nan")
    )


def labelled(runs: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Returns the runs with the row of the table that each belongs to as `arm`; with `order`, sorted by that number."""
    values = runs[list(experiment.rows)].astype(object).to_numpy().tolist()
    runs = runs.assign(arm=[label(own, experiment.rows) for own in values])
    if experiment.across and experiment.order:
        seeds = set.intersection(*(set(of["seed"]) for _, of in runs.groupby(experiment.across)))  # of all values
        common = runs[runs["seed"].isin(seeds or set(runs["seed"]))]
        number = runs[experiment.across].map(common.groupby(experiment.across)[experiment.order].mean())
        named = [
            f"{n:.1f} {str(value).removeprefix('tiny-')}"
            for n, value in zip(number, runs[experiment.across], strict=True)
        ]
        runs = runs.assign(**{experiment.across: named}).iloc[number.argsort(kind="stable")]
    return runs


def in_order(values: pd.Series, experiment: Experiment) -> list[Any]:
    """Returns the values of `across` in the order of the runs, where a number orders these, else sorted."""
    return list(values.unique()) if experiment.order else sorted(values.unique())


def tables(runs: pd.DataFrame, experiment: Experiment) -> str:
    """Returns one table; with a second axis, one of accuracies across that axis and one of all numbers."""
    runs = labelled(runs, experiment)
    if experiment.across is None:
        return summary(runs, experiment.numbers, experiment.baseline)
    apart = runs["arm"] + f" {experiment.across.rsplit('.', 1)[-1]}=" + runs[experiment.across].map(text)
    return f"{pivot(runs, experiment)}\n{summary(runs.assign(arm=apart), experiment.numbers, None)}"


def summary(runs: pd.DataFrame, numbers: Sequence[str], baseline: str | None) -> str:
    """Returns a row per arm: means over seeds with Student's t intervals, and paired differences from the baseline."""
    by_seed = {arm: group.set_index("seed") for arm, group in runs.groupby("arm", sort=False)}
    rows, p = [], []
    for arm, group in by_seed.items():
        accuracy = group["final accuracy"]
        row = {"arm": f"`{arm}`", "runs": str(len(group)), "final accuracy": format_values(accuracy, "final accuracy")}
        if baseline in by_seed:
            difference = {} if arm == baseline else less(accuracy, by_seed[baseline]["final accuracy"])
            row[f"minus {baseline}"] = interval(difference, "difference", "+.3f")
            p.append(difference.get("p", float("nan")))
        rows.append(row | {name: format_values(group[name], name) for name in numbers if name in group})
    for row, adjusted in zip(rows, holm(p) if p else [], strict=bool(p)):
        row["p (Holm)"] = p_value(adjusted)
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


def less(accuracy: pd.Series, baseline: pd.Series) -> dict[str, Any]:
    """Returns the difference paired by seed; only its mean for at most two pairs, or where all pairs differ equally."""
    pairs = (accuracy - baseline).dropna()
    few = len(pairs) <= FEW or alike(pairs.to_numpy(float))
    return {"difference": pairs.mean()} if few else paired(accuracy, baseline)


def pivot(runs: pd.DataFrame, experiment: Experiment) -> str:
    """Returns the final accuracies, with a row per arm and a column per value of `across`."""
    runs = runs.assign(column=runs[experiment.across])
    values = in_order(runs["column"], experiment)
    rows = []
    for arm, group in runs.groupby("arm", sort=False):
        cells = {text(v): group.loc[group["column"] == v, "final accuracy"] for v in values}
        rows.append({"final accuracy": f"`{arm}`"} | {v: format_values(c, "final accuracy") for v, c in cells.items()})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


def format_values(values: pd.Series, name: str) -> str:
    """Returns `0.930 [0.917, 0.943]`: the mean and Student's 95 % t interval; for at most two runs the mean alone."""
    values = values.dropna()
    if not len(values):
        return "–"
    return interval({"mean": values.mean(), **ends_of_mean(values, name)}, "mean", FORMATS[name])


def ends_of_mean(values: pd.Series, name: str) -> dict[str, float]:
    """Returns the ends of Student's t interval; empty for few runs, or where all values are the same.

    The ends are clipped: none of these quantities is below 0, and no fraction is above 1.
    """
    values_N = values.to_numpy(float)
    if len(values_N) <= FEW or alike(values_N):
        return {}
    return ends("mean", mean_interval, values_N, 0.0, 1.0 if is_fraction(name) else math.inf)


def interval(found: dict[str, Any], name: str, form: str) -> str:
    if pd.isna(found.get(name)):
        return "–"
    low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
    between = "" if low is None or pd.isna(low) else f" [{format_number(low, form)}, {format_number(high, form)}]"
    return format_number(found[name], form) + between


def text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def figure(runs: pd.DataFrame, experiment: Experiment) -> str:
    """Returns the SVG of the mean accuracies with their intervals and the base in grey; of the costs, for numbers=COST.

    Accuracies are drawn against the second axis where its values have an order; else the final ones and the means over
    the run are drawn, with a column per value.
    """
    runs = labelled(runs, experiment)
    if experiment.numbers == COST:
        return to_svg(costs(runs))
    if experiment.across is None:
        return to_svg(strip(runs, "final accuracy") | strip(runs, "mean accuracy", named=False))
    if experiment.order or is_number(runs[experiment.across]):
        return to_svg(panels(means(runs.assign(x=runs[experiment.across]), ["arm", "x"]), experiment))
    return to_svg(grid(runs, experiment.across))


def is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def costs(runs: pd.DataFrame) -> alt.FacetChart:
    """Draws the mean accuracy and the mean costs of each arm, with a panel per number."""
    arms = list(runs["arm"].unique())
    long = runs.groupby("arm", sort=False)[list(COST)].mean().fillna(0).reset_index().melt("arm", var_name="number")
    x = alt.X("value:Q", title=None, axis=alt.Axis(format="~s", tickCount=3), scale=alt.Scale(zero=True))
    bars = alt.Chart(long).mark_bar(color=COLOURS[0], height=8).encode(x=x, y=alt.Y("arm:N", title=None, sort=arms))
    return (
        bars.properties(width=130, height=alt.Step(18))
        .facet(alt.Facet("number:N", title=None, sort=list(COST), header=alt.Header(labelFontWeight=500)), columns=3)
        .resolve_scale(x="independent")
    )


def means(runs: pd.DataFrame, keys: Sequence[str], number: str = "final accuracy") -> pd.DataFrame:
    """Returns a row per set of `keys`: the number's mean and its interval's ends, which are the mean for few runs."""
    rows = []
    for values, group in runs.groupby(list(keys), sort=False):
        measured = group[number].dropna()
        mean, bounds = measured.mean(), ends_of_mean(measured, number)
        rows.append({**dict(zip(keys, values, strict=True)), "base": group["base accuracy"].mean(), "mean": mean,
                     "low": bounds.get("mean_low", mean), "high": bounds.get("mean_high", mean)})  # fmt: skip
    return pd.DataFrame(rows)


def grid(runs: pd.DataFrame, across: str) -> alt.VConcatChart:
    """Draws a column per value of `across`: final accuracies above, means over the run below."""
    arms, columns = list(runs["arm"].unique()), sorted(runs.groupby(across), key=lambda pair: str(pair[0]))
    rows = [
        alt.hconcat(
            *(strip(of, number, arms, not i, 150).properties(title=text(v)) for i, (v, of) in enumerate(columns))
        ).resolve_scale(x="shared")
        for number in ("final accuracy", "mean accuracy")
    ]
    return alt.vconcat(*rows)


def strip(
    runs: pd.DataFrame, number: str, arms: Sequence[str] | None = None, named: bool = True, width: int = 260
) -> Any:
    """Draws a line per arm: its runs as rings, their mean and its interval. The axis of final accuracies fits the runs;
    that of means over the run goes from 0 to 1, with the base dashed."""
    zoomed, arms = number == "final accuracy", arms or list(runs["arm"].unique())
    axis = alt.Axis(labelLimit=400, grid=True, labels=named, ticks=named)
    y = alt.Y("arm:N", title=None, scale=alt.Scale(domain=arms), axis=axis)
    scale = alt.Scale(zero=False, padding=8) if zoomed else alt.Scale(domain=[0, 1])
    x = alt.X(
        f"{number}:Q", title=number if zoomed else f"{number} over the run", scale=scale, axis=alt.Axis(tickCount=5)
    )
    rings, averages = alt.Chart(runs[["arm", number]]), alt.Chart(means(runs, ["arm"], number)).encode(y=y)
    base = alt.Chart(pd.DataFrame({number: [runs["base accuracy"].mean()]}))
    dashed = [] if zoomed else [base.mark_rule(strokeDash=[3, 3], color="#8A8F98").encode(x=x)]
    return alt.layer(
        *dashed,
        rings.mark_point(size=30, color="#8A8F98").encode(x=x, y=y),
        averages.mark_rule(strokeWidth=1.6, color=COLOURS[0]).encode(x="low:Q", x2="high:Q"),
        averages.mark_point(filled=True, size=50, opacity=1, color=COLOURS[0]).encode(x="mean:Q"),
    ).properties(width=width, height=alt.Step(20))


def panels(means: pd.DataFrame, experiment: Experiment) -> alt.FacetChart:
    """Draws the accuracies against the second axis, with a panel per arm."""
    title = experiment.unit or experiment.across
    if is_number(means["x"]):
        axis = alt.Axis(values=sorted(means["x"].unique()), format="~e" if experiment.log else "~g")
        scale = alt.Scale(type="log" if experiment.log else "linear", nice=False, padding=8)
        x = alt.X("x:Q", title=title, scale=scale, axis=axis)
    else:
        x = alt.X("x:N", title=title, sort=list(means["x"].unique()), axis=alt.Axis(labelAngle=-35))
    y = alt.Y("mean:Q", title="final accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))
    base = alt.Chart(means).encode(x=x)
    layers = alt.layer(
        base.mark_line(strokeWidth=1.2, strokeDash=[3, 3], color="#8A8F98").encode(y=alt.Y("base:Q")),
        base.mark_line(strokeWidth=1.8, color=COLOURS[0]).encode(y=y),
        base.mark_rule(strokeWidth=1.6, color=COLOURS[0]).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=50, opacity=1, color=COLOURS[0]).encode(y=y),
    )
    return layers.properties(width=170, height=HEIGHT * 0.55).facet(
        alt.Facet("arm:N", header=PANEL_NAME, sort=list(means["arm"].unique())), columns=4
    )
