"""Draws four panels in one SVG: KL divergences, the log-ratios behind them, the mass of a top-k, response lengths."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from tgpo.divergence.bootstrap import Array
from tgpo.divergence.measure import Counted
from tgpo.divergence.quantities import Finding
from tgpo.report.figures import COLOURS, to_svg

WIDTH, HEIGHT = 330, 200
POINTS = 200  # on a cumulative curve


def draw(title: str, details: str, found: Sequence[Finding], counted: Counted) -> str:
    top = alt.hconcat(divergences(found), log_ratios(counted), spacing=40)
    bottom = alt.hconcat(coverage(found), lengths(counted), spacing=40).resolve_scale(color="independent")
    heading = alt.TitleParams(title, subtitle=textwrap.wrap(details, 120), anchor="start", offset=16)
    return to_svg(alt.vconcat(top, bottom, spacing=30, title=heading))


def divergences(found: Sequence[Finding]) -> Any:
    selected = [f for f in found if re.fullmatch(r"divergence/(reverse|forward)_kl\w*", f.name)]
    data = pd.DataFrame([{"estimate": f.label, "value": f.value, "low": f.low, "high": f.high} for f in selected])
    order = [f.label for f in selected]
    y = alt.Y("estimate:N", sort=order, title=None, axis=alt.Axis(labelLimit=240))
    base = alt.Chart(data).encode(y=y)
    ends = alt.X("low:Q", title="nats a token", scale=alt.Scale(zero=True))
    return panel(
        base.mark_rule(strokeWidth=2, color=COLOURS[0]).encode(x=ends, x2="high:Q")
        + base.mark_point(filled=True, size=60, color=COLOURS[0], opacity=1).encode(x="value:Q"),
        "KL divergence, student and teacher",
    )


def log_ratios(counted: Counted) -> Any:
    data = cumulative(counted.pooled["log_ratio"].values_N, "tokens")
    x = alt.X("value:Q", title="log p(a)/q(a), nats: right of 0, the teacher gives it less")
    curve = alt.Chart(data).mark_line(interpolate="step-after", strokeWidth=2, color=COLOURS[0])
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(strokeDash=[4, 4], color="#888888").encode(x="value:Q")
    return panel(
        zero + curve.encode(x=x, y=alt.Y("fraction:Q", title="fraction of tokens", scale=alt.Scale(domain=[0, 1]))),
        "Log density ratio of the student's tokens, cumulative",
    )


def coverage(found: Sequence[Finding]) -> Any:
    rows = []
    for f in found:
        if match := re.fullmatch(r"divergence/(student|teacher)_coverage@(\d+)", f.name):
            rows.append({"of": match[1], "k": int(match[2]), "value": f.value, "low": f.low, "high": f.high})
    data = pd.DataFrame(rows)
    x = alt.X("k:Q", title="k", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(values=sorted(set(data["k"]))))
    base = alt.Chart(data).encode(x=x, color=of_whom())
    y = alt.Y("value:Q", title="probability", scale=alt.Scale(zero=False))
    return panel(
        base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=36)).encode(y=y)
        + base.mark_rule().encode(y="low:Q", y2="high:Q"),
        "Mass on the teacher's k best tokens",
    )


def lengths(counted: Counted) -> Any:
    data = pd.concat(cumulative(counted.pooled[f"{who}/length"].values_N, who) for who in ("student", "teacher"))
    curve = alt.Chart(data).mark_line(interpolate="step-after", strokeWidth=2)
    x = alt.X("value:Q", title="tokens, with EOS; at the cap they were cut off")
    y = alt.Y("fraction:Q", title="fraction of responses", scale=alt.Scale(domain=[0, 1]))
    return panel(curve.encode(x=x, y=y, color=of_whom()), "Response length, cumulative")


def of_whom() -> Any:
    who = alt.Scale(domain=["student", "teacher"], range=list(COLOURS[:2]))
    return alt.Color("of:N", title=None, scale=who, legend=alt.Legend(orient="bottom-right", symbolType="stroke"))


def panel(chart: Any, title: str) -> Any:
    return chart.properties(width=WIDTH, height=HEIGHT, title=alt.TitleParams(title, anchor="start", fontSize=12))


def cumulative(values_N: Array, of: str) -> pd.DataFrame:
    """Returns the fraction of values at or below each value, at evenly spaced fractions."""
    fraction = np.linspace(0, 1, POINTS + 1)
    values = np.quantile(values_N, fraction, method="inverted_cdf")
    return pd.DataFrame({"value": values.astype(float), "fraction": fraction, "of": of})
