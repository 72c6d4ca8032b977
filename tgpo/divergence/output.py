"""Prints a measurement as a table, and writes it as table.md, divergence.json and divergence.svg into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from tgpo.config.request import Request
from tgpo.config.sizes import context_name
from tgpo.divergence.figure import draw
from tgpo.divergence.measure import Counted
from tgpo.divergence.quantities import Finding, by_name
from tgpo.divergence.request import DivergenceOptions
from tgpo.runs.files import write_whole
from tgpo.runs.provenance import provenance

NOTHING = "–"


@dataclass(frozen=True)
class Setting:
    """The heading of each output: what was measured."""

    title: str
    details: str
    level: float


def setting(request: Request, options: DivergenceOptions, counted: Counted) -> Setting:
    run, which = request.options, options.problems.replace("_", "-")
    reads = context_name(request.teachers[0].context)
    context = "" if reads == "none" else f", which reads a text: {reads}"
    left_out = f" ({counted.without_text} responses without one left out)" if counted.without_text else ""
    return Setting(
        f"{run.student.path} against {request.teachers[0].options.path}{context}{left_out}",
        f"{request.task.name}, {which} problems: {counted.prompts} prompts x {options.samples} responses, "
        f"{counted.tokens:,} tokens of the student; temperature {run.rollout.temperature:g}, at most "
        f"{run.rollout.max_response_length} tokens, seed {run.seed}; {options.level:g} % bootstrap intervals by prompt",
        options.level,
    )


def interval(f: Finding) -> str:
    return NOTHING if f.low is None or f.high is None else f"[{number(f.low)}, {number(f.high)}]"


def number(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def show(console: Console, setting: Setting, found: Sequence[Finding]) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name, right in (("", False), ("value", True), (f"{setting.level:g} % interval", True), ("unit", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for section, members in groupby(found, key=lambda f: f.section):
        table.add_row()
        table.add_row(f"[bold]{section}[/bold]")
        for f in members:
            table.add_row(f.label, number(f.value), interval(f).replace("[", r"\["), f.unit)
    console.print(f"\n{setting.title}\n{setting.details}\n", highlight=False, markup=False)
    console.print(table)
    console.print()


def markdown(setting: Setting, found: Sequence[Finding]) -> str:
    """Returns the tables as markdown, in which every row explains its quantity."""
    parts = [f"# {setting.title}\n\n{setting.details}.\n"]
    parts.append(
        "p is the student's next-token distribution and q the teacher's, both at temperature 1, in the states that the "
        "student's responses pass through; a is the token it sampled there. Means are over all tokens of all "
        f"responses. {NOTHING}: nothing to average, or not in every resample.\n"
    )
    for section, members in groupby(found, key=lambda f: f.section):
        rows = [
            {
                "": f.label,
                "value": number(f.value),
                f"{setting.level:g} % interval": interval(f),
                "unit": f.unit,
                "what it is": f.meaning,
            }
            for f in members
        ]
        parts.append(f"## {section}\n\n{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}\n")
    return "\n".join(parts)


def record(request: Request, options: DivergenceOptions, counted: Counted, found: list[Finding]) -> dict[str, Any]:
    return {
        "student": request.options.student.path,
        "teacher": request.teachers[0].options.path,
        "task": request.task.name,
        "prompts": counted.prompts,
        "tokens": counted.tokens,
        "responses_without_text": counted.without_text,
        "options": options.model_dump(),
        "findings": by_name(found),
        "config": request.resolved,
        "provenance": provenance(request.resolved),
    }


def write(folder: Path, setting: Setting, found: Sequence[Finding], counted: Counted, whole: dict[str, Any]) -> None:
    """Writes the outputs, the JSON last: if it exists, the others do too."""
    write_whole(folder / "table.md", markdown(setting, found))
    write_whole(folder / "divergence.svg", draw(setting.title, setting.details, found, counted))
    write_whole(folder / "divergence.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
