"""The panels of a sweep's page. An arm looks the same in every panel, and one list of hidden arms applies to all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from tgpo.report.arms import Arm
from tgpo.report.collect import RunFiles
from tgpo.report.comparison import Sweep
from tgpo.report.curves import Curves
from tgpo.report.figures import COLOURS, Panel, nearest, x_of_steps

DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 4))  # distinguish arms that share a colour
SHAPES = ("circle", "square", "triangle-up", "cross", "diamond")
GREY = "#8A8F98"
POINTS = 150  # per curve at most; of longer runs every second or third step is drawn, and the CSV has all
ROW, LONG_LABEL = 40, 26  # forest plot: pixels of a row; characters of the longest label with numbers beside it
TICKS = 5
SCALES: dict[str, dict[str, Any]] = {"linear": {"zero": False}, "log": {}, "symlog": {"constant": 1}}


class Look(NamedTuple):
    """Describes a panel of curves: `slug` names its file; a `unit` that begins with "fraction" goes from 0 to 1."""

    slug: str
    title: str
    caption: str
    unit: str
    scale: Any = "linear"


CURVES = {  # in the page's order, after the accuracy panel
    "reward/mean": Look("reward", "Training reward", "Mean verifier reward of the rollouts.", "fraction"),
    "response/length_mean": Look("length", "Response length", "Mean tokens of a rollout.", "tokens"),
    "response/truncated_fraction": Look("truncation", "Truncation", "Rollouts cut off at the cap.", "fraction"),
    "gradient/norm": Look(
        "gradient-norm", "Gradient norm", "Of the update, before clipping.", "norm, log scale", "log"
    ),
    "gradient/variance": Look(
        "gradient-variance", "Gradient variance", "Between prompt groups: the trace of the covariance.",
        "variance, log scale", "log",
    ),
    "gradient/snr": Look(
        "gradient-snr", "Gradient signal to noise",
        "Squared mean over its variance, unbiased, so below 0 where noise is all there is.",
        "ratio, symmetric log scale", "symlog",
    ),
    "divergence/reverse_kl_k1": Look(
        "divergence", "Reverse KL to the teacher", "On the student's own rollouts.", "nats a token"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    colour: str
    dash: Sequence[int]
    shape: str


class Charts:
    """What all panels share: the style of each arm, and the Altair encodings made from the styles."""

    def __init__(self, sweep: Sweep, curves: Curves) -> None:
        self.sweep, self.curves = sweep, curves
        self.styles = styles(sweep.arms)
        self.hidden = alt.param(name="hidden", value=[])
        labels = list(self.styles)
        legend = alt.Legend(orient="top", columns=4, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3)
        self.colour = alt.Color(
            "arm:N", title=None, legend=legend,
            scale=alt.Scale(domain=labels, range=[style.colour for style in self.styles.values()]),
        )  # fmt: skip
        self.dash = alt.StrokeDash(
            "arm:N", legend=None,
            scale=alt.Scale(domain=labels, range=[list(style.dash) for style in self.styles.values()]),
        )  # fmt: skip
        self.shape = alt.Shape(
            "arm:N", legend=None,
            scale=alt.Scale(domain=labels, range=[style.shape for style in self.styles.values()]),
        )  # fmt: skip

    def chart(self, data: pd.DataFrame) -> Any:
        """Returns a chart without the arms that are named in the parameter `hidden`, which the page sets."""
        return alt.Chart(data).transform_filter("indexof(hidden, datum.arm) < 0")

    def panel(self, slug: str, title: str, caption: str, layers: Sequence[Any], hover: Any, height: int = 220) -> Panel:
        return Panel(slug, title, caption, layers, hover, height, (self.hidden,), legend=False)


# the default format would round the only tick of an axis whose values are all equal to an integer
SCATTERED = alt.Axis(tickCount=TICKS, format="~g")


def styles(arms: Sequence[Arm]) -> dict[str, Style]:
    """Returns the arms' styles: a colour per objective where dash and shape suffice for its arms, else one per arm."""
    objectives = sorted({arm.objective for arm in arms})
    beside = {arm.label: [a.label for a in arms if a.objective == arm.objective].index(arm.label) for arm in arms}
    by_objective = 1 < len(objectives) <= len(COLOURS) and max(beside.values(), default=0) < len(DASHES)
    by_label = {}
    for i, arm in enumerate(arms):
        hue, variant = i % len(COLOURS), i // len(COLOURS) % len(DASHES)
        if by_objective:
            hue, variant = objectives.index(arm.objective), beside[arm.label]
        by_label[arm.label] = Style(COLOURS[hue], DASHES[variant], SHAPES[variant])
    return by_label


def sweep_panels(sweep: Sweep, curves: Curves) -> dict[str, list[Panel]]:
    """Returns the panels by section of the page; a panel whose metric no run measured is left out."""
    charts = Charts(sweep, curves)
    drawn = [accuracy_curve(charts, sweep.task, "accuracy", "Held-out accuracy")]
    drawn += [curve(charts, metric, look) for metric, look in CURVES.items()]
    others = list(dict.fromkeys(task for m in sweep.of("counted", "unfinished") for task in m.run.tasks[1:]))
    drawn += [accuracy_curve(charts, task, f"accuracy-{i}", f"Accuracy on {task}") for i, task in enumerate(others)]
    compared = [
        forest(charts, "forest-accuracy", "final accuracy", "Final accuracy: difference", "fraction right"),
        forest(charts, "forest-length", "final length", "Final response length: difference", "tokens"),
        length_against_accuracy(charts),
        policy_gap(charts),
    ]
    return {"compared": [p for p in compared if p], "curves": [p for p in drawn if p]}


def accuracy_curve(charts: Charts, task: str | None, slug: str, title: str) -> Panel | None:
    look = Look(slug, title, "On problems never trained on.", "fraction right")
    return curve(charts, f"eval/{task}/accuracy", look, marks=True)


def curve(charts: Charts, metric: str, look: Look, *, marks: bool = False) -> Panel | None:
    """Draws each arm's mean over finished runs in a band from lowest to highest, and each unfinished run as a line."""
    slug, title, caption, unit, scale = look
    positive = scale == "log"
    means, unfinished = charts.curves.band(metric, positive), charts.curves.unfinished(metric, positive)
    if means.empty and unfinished.empty:
        return None
    means, unfinished = shorten(thin(means)), shorten(thin(unfinished))
    domain: dict[str, Any] = {"domain": [0, 1]} if unit.startswith("fraction") else {}
    y_scale = alt.Scale(type=scale, **(SCALES[scale] | domain))
    ticks = decades(means, unfinished) if scale == "log" else None
    y = alt.Y("mean:Q", title=unit, scale=y_scale, axis=alt.Axis(values=ticks) if ticks else alt.Axis(tickCount=TICKS))
    base = charts.chart(means).encode(x=x_of_steps(), y=y, color=charts.colour)
    layers = [
        base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q", title=unit, scale=y_scale), y2="high:Q"),
        base.mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=26) if marks else False, clip=True).encode(
            strokeDash=charts.dash
        ),
    ]
    if len(unfinished):
        lines = charts.chart(unfinished).encode(x=x_of_steps(), y=alt.Y("value:Q", title=unit), color=charts.colour)
        layers.append(lines.mark_line(strokeWidth=1.2, strokeDash=[3, 3], opacity=0.8).encode(detail="run:N"))
        ends = unfinished.sort_values("step").groupby("run", as_index=False).tail(1)
        ends = charts.chart(ends).encode(
            x=x_of_steps(), y=alt.Y("value:Q", title=unit), color=charts.colour,
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("step:Q", title="stopped at"), alt.Tooltip("value:Q")],
        )  # fmt: skip
        layers.append(ends.mark_point(shape="cross", angle=45, size=50, filled=True))
    return charts.panel(slug, title, caption, layers, hover(base))


def hover(base: Any) -> Any:
    pointed = nearest(["step", "arm"])
    fields = [("arm:N", "", None), ("step:Q", "step", None), ("mean:Q", "mean", ".4g"), ("low:Q", "lowest", ".4g"),
              ("high:Q", "highest", ".4g"), ("runs:Q", "runs", None)]  # fmt: skip
    tooltip = [alt.Tooltip(f, title=title or "arm", **({"format": form} if form else {})) for f, title, form in fields]
    opacity = alt.when(pointed).then(alt.value(1.0)).otherwise(alt.value(0.0))
    return base.mark_point(size=60, filled=True).encode(opacity=opacity, tooltip=tooltip).add_params(pointed)


def decades(means: pd.DataFrame, unfinished: pd.DataFrame) -> list[float] | None:
    """Returns ticks at powers of ten; None where the values, rounded outwards, span no more than one decade."""
    values = pd.concat([means["low"], means["high"], unfinished["value"]])
    lowest, highest = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    return [10.0**power for power in range(lowest, highest + 1)] if highest - lowest > 1 else None


def thin(data: pd.DataFrame) -> pd.DataFrame:
    """Keeps every k-th step, counted back from the last one, so that at most `POINTS` remain."""
    steps = sorted(data["step"].unique(), reverse=True)
    every = -(-len(steps) // POINTS)
    return data[data["step"].isin(steps[::every])] if every > 1 else data


def shorten(data: pd.DataFrame) -> pd.DataFrame:
    """Rounds to five significant digits: a screen shows fewer, and this saves a third of the page's size."""
    numbers = data.select_dtypes("float")
    return data.assign(**{str(name): numbers[name].map(lambda value: float(f"{value:.5g}")) for name in numbers})


def forest(charts: Charts, slug: str, metric: str, title: str, unit: str) -> Panel | None:
    """Draws each arm's paired difference from its baseline with its interval; the arm's name is above the bar."""
    rows = [charts.sweep.row(metric, arm) for arm in charts.sweep.arms]
    kept = [row for row in rows if pd.notna(row.get("difference"))]
    if not kept:
        return None
    digits = 3 if "accuracy" in metric else 1
    names = ("arm", "difference", "difference_low", "difference_high", "pairs", "p_holm", "baseline")
    data = pd.DataFrame([{name: row[name] for name in names} for row in kept])
    data["text"] = [format_difference(row, digits) for row in kept]
    roomy = max(len(str(label)) for label in data["arm"]) <= LONG_LABEL
    plain = charts.chart(data).encode(y=alt.Y("arm:N", sort=None, axis=None))
    base = plain.encode(color=charts.colour)
    x = alt.X("difference:Q", title=unit, axis=alt.Axis(tickCount=TICKS, grid=False), scale=alt.Scale(padding=14))
    tooltip = [alt.Tooltip("arm:N"), alt.Tooltip("baseline:N", title="minus"),
               alt.Tooltip("text:N", title="difference"), alt.Tooltip("pairs:Q", title="pairs of runs"),
               alt.Tooltip("p_holm:Q", title="p (Holm)", format=".3g")]  # fmt: skip
    label = plain.mark_text(align="left", dy=-13, fontSize=12, fontWeight=500).encode(x=alt.value(0), text="arm:N")
    numbers = plain.mark_text(align="right", dy=-13 if roomy else 14, fontSize=11.5)
    numbers = numbers.encode(x=alt.value("width"), text="text:N")
    zero = plain.mark_tick(color=GREY, thickness=1.5, size=14).encode(x=alt.XDatum(0, type="quantitative"))
    layers = [
        zero,
        base.mark_rule(strokeWidth=2.4).encode(x=alt.X("difference_low:Q"), x2="difference_high:Q"),
        base.mark_point(size=80, filled=True, opacity=1).encode(x=x, shape=charts.shape, tooltip=tooltip),
        label,
        numbers,
    ]
    caption = f"Minus {named_baseline(charts.sweep)}, paired by seed: mean and 95 % interval (Student's t)."
    height = (ROW if roomy else ROW + 14) * len(kept)
    return charts.panel(slug, title, caption, layers, None, height)


def format_difference(row: Mapping[str, Any], digits: int) -> str:
    mean = f"{row['difference']:+.{digits}f}"
    if pd.isna(row.get("difference_low")):
        return mean.replace("-", "−")
    low, high = row["difference_low"], row["difference_high"]
    return f"{mean} [{low:+.{digits}f}, {high:+.{digits}f}]".replace("-", "−")


def named_baseline(sweep: Sweep) -> str:
    """Returns the baseline's name (`grpo`), with "in the same setting" where arms have different baselines."""
    own = {arm.label for arm in sweep.baselines.values()}
    return sweep.baseline if len(own) == 1 else f"{sweep.baseline} in the same setting"


def numbers_of(sweep: Sweep) -> pd.DataFrame:
    """Returns the headline numbers of the counted runs, a row per run."""
    rows = [{"arm": m.arm.label, "objective": m.arm.objective, "run": m.name, "seed": m.seed, **m.numbers}
            for m in sweep.of("counted") if m.arm]  # fmt: skip
    return pd.DataFrame(rows)


def length_against_accuracy(charts: Charts) -> Panel | None:
    names = {"final length": "length", "final accuracy": "accuracy"}
    caption = "Where each run ends (small), and each arm's mean."
    return scatter(charts, "length-accuracy", "Length against accuracy", caption, numbers_of(charts.sweep), names,
                   ("tokens, mean of the last ten steps", "final accuracy"))  # fmt: skip


def policy_gap(charts: Charts) -> Panel | None:
    """Draws the gain against the policy gap before training; None where all runs have the same student and teacher."""
    runs = [m.run for m in charts.sweep.of("counted")]
    if len({(part(run, "student"), part(run, "teacher")) for run in runs}) < 2:
        return None
    data = numbers_of(charts.sweep)
    data = data.assign(gained=data["final accuracy"] - data["base accuracy"])
    caption = "What training gained, against the reverse KL of the first step. Lines join an objective's means."
    names = {"first reverse KL": "gap", "gained": "gained"}
    titles = ("reverse KL at step 1, nats a token", "final less base accuracy")
    return scatter(charts, "policy-gap", "Policy gap", caption, data, names, titles, joined=True)


def part(run: RunFiles, section: str) -> str:
    return str((run.config.get(section) or {}).get("path"))


def scatter(
    charts: Charts, slug: str, title: str, caption: str, data: pd.DataFrame, names: Mapping[str, str],
    titles: Sequence[str], *, joined: bool = False,
) -> Panel | None:  # fmt: skip
    """Draws runs as small and arm means as large points; `names` maps the columns of x and y to names in the chart."""
    if data.empty or not set(names) <= set(data):
        return None
    x_name, y_name = names.values()
    data = shorten(data[["arm", "objective", "run", "seed", *names]].rename(columns=dict(names)).dropna())
    if data.empty:
        return None
    means = shorten(data.groupby(["arm", "objective"], as_index=False, sort=False)[[x_name, y_name]].mean())
    x = alt.X(f"{x_name}:Q", title=titles[0], scale=alt.Scale(zero=False, nice=True), axis=SCATTERED)
    y = alt.Y(f"{y_name}:Q", title=titles[1], scale=alt.Scale(zero=False, nice=True), axis=SCATTERED)
    tooltips = [alt.Tooltip(f"{name}:Q", format=".4g") for name in (x_name, y_name)]
    runs, centres = (charts.chart(d).encode(x=x, y=y, color=charts.colour, shape=charts.shape) for d in (data, means))
    layers = [
        runs.mark_point(filled=True, size=34, opacity=0.5).encode(tooltip=["arm:N", "seed:Q", *tooltips]),
        centres.mark_point(filled=True, size=150, opacity=1).encode(tooltip=["arm:N", *tooltips]),
    ]
    if joined:
        line = charts.chart(means).encode(x=x, y=y, detail="objective:N", order=f"{x_name}:Q")
        layers.insert(0, line.mark_line(strokeWidth=1.4, color=GREY))
    return charts.panel(slug, title, caption, layers, None)
