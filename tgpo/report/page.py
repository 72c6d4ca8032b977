"""Writes the report of one run: a self-contained page, with its table and figures as separate files beside it."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert
import yaml

from tgpo.report.collect import RunFiles, read_run
from tgpo.report.figures import Panel
from tgpo.report.run_figures import run_panels
from tgpo.runs.files import make_folder, write_whole

SAMPLE_STEPS = 4  # steps whose rollouts are on the page: the first, the last, and some between


def write_report(directory: Path) -> Path:
    """Writes `report/report.html`, `report/table.md` and one SVG per figure; returns the page's path."""
    run = read_run(directory)
    folder = directory / "report"
    make_folder(folder, "report")
    panels = run_panels(run)
    for panel in panels:
        write_whole(folder / f"{panel.slug}.svg", panel.svg())
    write_whole(folder / "table.md", table(run).to_markdown(index=False, floatfmt=".4g") + "\n")
    write_whole(folder / "report.html", render(run, panels))
    return folder / "report.html"


def render(run: RunFiles, panels: list[Panel]) -> str:
    return render_page(
        "run.html.jinja",
        panels=[panel.template_values() for panel in panels],
        title=title(run),
        subtitle=subtitle(run),
        status=run.status,
        steps=(run.config.get("train") or {}).get("steps", "?"),
        headline=headline(run),
        samples=samples(run),
        table=table(run).round(4).astype(object).fillna("").to_dict("split"),
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        provenance=yaml.safe_dump(run.provenance, sort_keys=False, allow_unicode=True),
        command=run_command(run),
    )


def render_page(template: str, **values: Any) -> str:
    """Returns a page. All values but Vega's code are HTML-escaped, since models wrote much of what they contain."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tgpo", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(vega=vega_bundle(), **values)


@cache
def vega_bundle() -> str:
    """Returns Vega's JavaScript; cached, because bundling it takes a second."""
    return vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]  the type stub lacks a default


def run_command(run: RunFiles) -> str:
    return shlex.join(["python", "run.py", *map(str, run.config.get("overrides") or [])])


def title(run: RunFiles) -> str:
    return run.choices.get("objective") or run.config.get("name") or run.path.name


def subtitle(run: RunFiles) -> str:
    task = run.task or run.choices.get("task")  # before the first evaluation no record names the task
    return f"{who_learns(run.config)}{f' on {task}' if task else ''}, seed {run.config.get('seed')}"


def who_learns(config: dict[str, Any]) -> str:
    student, teacher = ((config.get(part) or {}).get("name", "unknown") for part in ("student", "teacher"))
    return f"{student} learns from {teacher}"


def headline(run: RunFiles) -> list[dict[str, str]]:
    """Returns the cards at the top of the page: the last value of each main metric, with the first as a note."""
    accuracy = run.accuracy()
    cards = []
    if len(accuracy):
        base, last = accuracy["accuracy"].iloc[0], accuracy["accuracy"].iloc[-1]
        cards.append({"label": "held-out accuracy", "value": f"{last:.3f}", "note": f"base student {base:.3f}"})
    for column, label, form in (
        ("response/length_mean", "mean response length", ".1f"),
        ("response/truncated_fraction", "truncated rollouts", ".1%"),
        ("divergence/reverse_kl_k1", "reverse KL, nats a token", ".2f"),
        ("gradient/norm", "gradient norm", ".2f"),
    ):
        if column in run.train and run.train[column].notna().any():
            values = run.train[column].dropna()
            note = f"first step {values.iloc[0]:{form}}"
            cards.append({"label": label, "value": f"{values.iloc[-1]:{form}}", "note": note})
    return cards


def samples(run: RunFiles) -> list[dict[str, Any]]:
    """Returns the sample rollouts of at most `SAMPLE_STEPS` steps, spread evenly over the run."""
    steps = sorted({rollout["step"] for rollout in run.rollouts})
    if len(steps) > SAMPLE_STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (SAMPLE_STEPS - 1))] for i in range(SAMPLE_STEPS)]
    return [{"step": step, "rollouts": [r for r in run.rollouts if r["step"] == step]} for step in steps]


def table(run: RunFiles) -> pd.DataFrame:
    """Returns a row per evaluation, with the training metrics of the same step."""
    columns = {
        "reward/mean": "reward",
        "response/length_mean": "length",
        "response/truncated_fraction": "truncated",
        "gradient/norm": "gradient norm",
        "gradient/variance": "gradient variance",
        "divergence/reverse_kl_k1": "reverse KL",
    }
    measured = {column: name for column, name in columns.items() if column in run.train}
    rows = run.train[["step", *measured]].rename(columns=measured)
    return run.accuracy().merge(rows, on="step", how="left").astype({"step": int})


def closing_lines(directory: Path, report: Path) -> str:
    """Returns the lines that a finished run prints last."""
    accuracy = read_run(directory).accuracy()["accuracy"]
    lines = [f"base accuracy   {accuracy.iloc[0]:.3f}", f"final accuracy  {accuracy.iloc[-1]:.3f}"]
    return "\n".join([*lines, f"report          {report}"])
