"""The panels of one run's page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from tgpo.report.collect import RunFiles
from tgpo.report.figures import COLOURS, Panel, nearest, x_of_steps

MOST_POINTS = 1_000  # per line at most: a screen has fewer columns, and each point adds 60 bytes to the page


def run_panels(run: RunFiles) -> list[Panel]:
    """Returns the panels of one run's page; one whose metrics were not measured is left out."""
    accuracy, cap = run.accuracy(), (run.config.get("rollout") or {}).get("max_response_length")
    capped = f" The dashed line is the cap of {cap}." if cap else ""
    train = run.train
    if {"gradient/snr", "gradient/noise_scale"} <= set(train):
        train = train.assign(**{"gradient/noise_scale": train["gradient/noise_scale"].where(train["gradient/snr"] > 0)})
    base = accuracy["accuracy"].iloc[0] if len(accuracy) else None
    panels = [
        panel(
            "accuracy", "Held-out accuracy", "On problems never trained on; the dashed line is the student before "
            "training.", accuracy, {"accuracy": "accuracy"}, "fraction right", marks=True,
            reference=base, domain=(0, 1),
        ),
        panel(
            "reward", "Training reward", "Mean verifier reward of the rollouts, and the fraction of prompts that any "
            "rollout solved.", train, {"reward/mean": "mean reward", "reward/solved_groups": "solved prompts"},
            "fraction", domain=(0, 1),
        ),
        panel(
            "length", "Response length", f"Tokens a rollout.{capped}", train,
            {"response/length_mean": "mean", "response/length_p95": "95th percentile",
             "response/length_correct_mean": "right", "response/length_incorrect_mean": "wrong"},
            "tokens", reference=cap,
        ),
        panel(
            "truncation", "Truncation and repetition", "Rollouts cut off at the cap, and rollouts that repeat "
            "themselves.", train, {"response/truncated_fraction": "truncated",
                                       "response/repetition_fraction": "repetitive"}, "fraction", domain=(0, 1),
        ),
        panel(
            "gradient-norm", "Gradient norm", "Of the update, before clipping.", train,
            {"gradient/norm": "norm"}, "norm", log=True,
        ),
        panel(
            "gradient-variance", "Gradient variance", "Between prompt groups (trace of the covariance), and the noise "
            "scale, variance over squared signal, where a signal stands out.", train,
            {"gradient/variance": "variance", "gradient/noise_scale": "noise scale"}, "log scale", log=True,
        ),
        panel(
            "divergence", "Reverse KL to the teacher", "On the student's own rollouts, single-sample estimate.",
            train, {"divergence/reverse_kl_k1": "reverse KL"}, "nats a token",
        ),
        panel(
            "agreement", "Agreement with the teacher", "Tokens that are not the teacher's first choice, and the "
            "overlap of the two top-k sets.", train,
            {"divergence/mismatch": "mismatch", "divergence/topk_overlap": "top-k overlap"}, "fraction", domain=(0, 1),
        ),
    ]  # fmt: skip
    return [p for p in [*panels, *panels_by_teacher(train)] if p is not None]


def panels_by_teacher(train: pd.DataFrame) -> list[Panel | None]:
    """Returns the panels of a run with several teachers, a line for each; none where there is one."""
    names = [found[1] for column in train if (found := re.fullmatch(r"teacher/([^/]+)/token_share", str(column)))]
    described = [
        (
            "token_share", "Tokens of each teacher", "Of the student's tokens that a teacher scored, those of each. A "
            "teacher with few of them teaches little, which no mean over all of them shows.", "fraction", (0, 1),
        ),
        (
            "reverse_kl_k1", "Reverse KL to each teacher", "On the rollouts that it scored, single-sample estimate.",
            "nats a token", None,
        ),
        ("reward_mean", "Reward by teacher", "Of the rollouts that each teacher scored.", "fraction", (0, 1)),
    ]  # fmt: skip
    return [
        panel(
            f"teachers-{value.replace('_', '-')}", title, caption, train,
            {f"teacher/{name}/{value}": name for name in names}, unit, domain=domain,
        )
        for value, title, caption, unit, domain in described
    ]  # fmt: skip


def panel(
    slug: str,
    title: str,
    caption: str,
    data: pd.DataFrame,
    series: Mapping[str, str],
    unit: str,
    *,
    marks: bool = False,
    reference: float | None = None,
    domain: Sequence[float] | None = None,
    log: bool = False,
) -> Panel | None:
    """Draws a line over the steps for each metric that was measured; returns None when none was."""
    measured = {column: label for column, label in series.items() if column in data and data[column].notna().any()}
    if not measured:
        return None
    every = -(-len(data) // MOST_POINTS)
    if every > 1:  # counted back from the last step, which is always drawn
        data = data.iloc[::-every].iloc[::-1]
        caption = f"{caption} One step in {every} is drawn."
    tidy = data[["step", *measured]].rename(columns=measured).melt("step", var_name="series", value_name="value")
    tidy = tidy.dropna()
    if log:
        tidy = tidy[tidy["value"] > 0]
    labels = list(measured.values())
    scale = alt.Scale(domain=list(domain)) if domain else (alt.Scale(type="log") if log else alt.Scale(zero=True))
    colour = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=labels, range=list(COLOURS[: len(labels)])),
        # on a phone, a fourth entry in a row would be cut off
        legend=alt.Legend(orient="top", columns=3, symbolType="stroke") if len(labels) > 1 else None,
    )
    toggled = alt.selection_point(fields=["series"], bind="legend")
    pointed = nearest(["step"])
    base = alt.Chart(tidy).encode(
        x=x_of_steps(),
        y=alt.Y("value:Q", title=unit, scale=scale),
        color=colour,
        opacity=alt.when(toggled).then(alt.value(1.0)).otherwise(alt.value(0.08)),
        tooltip=[alt.Tooltip("series:N"), alt.Tooltip("step:Q"), alt.Tooltip("value:Q", format=".4g")],
    )
    layers = [base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=36) if marks else False).add_params(toggled)]
    hover = base.mark_point(size=70, filled=True).add_params(pointed)
    hover = hover.encode(opacity=alt.when(pointed).then(alt.value(1.0)).otherwise(alt.value(0.0)))
    if reference is not None:
        line = alt.Chart(pd.DataFrame({"value": [reference]}))
        layers.insert(0, line.mark_rule(strokeDash=[4, 4], color="#888888").encode(y="value:Q"))
    return Panel(slug, title, caption, layers, hover)
