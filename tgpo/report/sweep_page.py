"""Writes the report of a set of runs: one page, with its tables, figures and data frames as files beside it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml

from tgpo.errors import RequestError
from tgpo.report.arms import Arm
from tgpo.report.comparison import Member, Sweep, closing_lines, read_sweep
from tgpo.report.curves import RecordedCurves
from tgpo.report.figures import Panel
from tgpo.report.frames import records_frame, write_frames
from tgpo.report.page import render_page, run_command, who_learns
from tgpo.report.reproduction import dirty, launch_commands, manifest
from tgpo.report.sweep_figures import named_baseline, styles, sweep_panels
from tgpo.runs.files import make_folder, write_whole

NONE = "–"
# the metrics of the second table, each with its number format
OTHERS = {
    "lowest accuracy": ".3f", "final length": ".1f", "truncated": ".3f", "reverse KL": ".2f", "gradient norm": ".2f",
    "gradient variance": "3 digits",
}  # fmt: skip


def write_sweep_report(
    directories: Sequence[Path], output: Path | None = None, *, baseline: str | None = None, task: str | None = None,
    say: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """Writes the report of all runs at or below the directories; returns the page's path.

    The report goes to `output`, by default to `report/` in the directory (of several, in the folder they share). `say`
    is called with each line of the summary (notes, unfinished runs, accuracies); the caller prints the path. Raises
    RequestError, and writes nothing, where there is no run, or no such baseline or task.
    """
    sweep = read_sweep(directories, baseline, task)

    folder = output or sweep.root / "report"
    if sweep.root == Path(sweep.root.anchor) and output is None:
        raise RequestError("the directories share no folder to hold the report; say where with --output DIR")
    options = [word for name, value in (("baseline", baseline), ("task", task), ("output", output)) if value is not None
               for word in (f"--{name}", str(value))]  # fmt: skip
    page = write_page(sweep, folder, report_command(sweep, options))
    for line in closing_lines(sweep):
        say(line)
    return page


def write_page(sweep: Sweep, folder: Path, command: str) -> Path:
    """Writes `report.html`, `table.md`, the data frames and one SVG per figure; `command` reproduces the page."""
    make_folder(folder, "--output")
    records = records_frame(sweep)
    panels = sweep_panels(sweep, RecordedCurves(records))
    for panel in [panel for section in panels.values() for panel in section]:
        write_whole(folder / f"{panel.slug}.svg", panel.svg())
    write_frames(sweep, records, folder)
    write_whole(folder / "table.md", markdown(sweep))
    runs = [m.run for m in sweep.members]
    record = {**manifest(runs), "uncommitted changes in": len(dirty(runs))}
    write_whole(folder / "report.html", render(sweep, panels, [*launch_commands(runs), command], record, folder))
    return folder / "report.html"


def render(
    sweep: Sweep, panels: dict[str, list[Panel]], commands: Sequence[str], record: dict[str, Any], folder: Path | None
) -> str:
    """Returns the page as HTML.

    Args:
        commands: the commands that reproduce the runs and the page.
        record: the provenance, with versions and hardware.
        folder: the page's folder, from which it links to the runs' own pages; None for a page without these links.
    """
    looks = styles(sweep.arms)
    compared, curves = ([panel.template_values() for panel in panels[section]] for section in ("compared", "curves"))
    return render_page(
        "sweep.html.jinja",
        panels=[*compared, *curves],
        title=sweep.name,
        subtitle=subtitle(sweep),
        headline=headline(sweep),
        keys=[{"arm": arm, "colour": s.colour, "dash": " ".join(map(str, s.dash))} for arm, s in looks.items()],
        colours={arm: style.colour for arm, style in looks.items()},
        compared=compared,
        curves=curves,
        comparison=split(comparison(sweep)),
        others=split(others(sweep)),
        explained=explained(sweep),
        unfinished=[{"name": m.name, "state": m.state, "step": m.run.status.get("step", NONE), "reason": m.reason}
                    for m in sweep.of("unfinished")],
        notes=sweep.notes,
        commands=commands,
        runs=[run_row(member, folder) for member in sweep.members],
        provenance=yaml.safe_dump(record, sort_keys=False, allow_unicode=True),
    )  # fmt: skip


def split(table: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(table.columns), "data": table.to_numpy().tolist()}


def subtitle(sweep: Sweep) -> str:
    who = sorted({who_learns(m.run.config) for m in sweep.members if m.arm})
    learners = who[0] if len(who) == 1 else f"{len(who)} pairs of student and teacher"
    return f"{learners} on {sweep.task}" if sweep.task else learners


def headline(sweep: Sweep) -> list[dict[str, str]]:
    counted, total = sweep.of("counted"), len(sweep.members)
    seeds = len({m.seed for m in counted})
    cards = [
        {"label": "runs that count", "value": str(len(counted)), "note": f"of {total} found"},
        {"label": "arms", "value": str(len(sweep.arms)), "note": f"{seeds} seed{'s' * (seeds != 1)}"},
    ]
    rows = [row for arm in sweep.arms if pd.notna((row := sweep.row("final accuracy", arm)).get("mean"))]
    if rows:
        best = max(rows, key=lambda row: row["mean"])
        cards.append({"label": "highest final accuracy", "value": f"{best['mean']:.3f}", "note": best["arm"]})
        bases = [row["mean"] for arm in sweep.arms if "mean" in (row := sweep.row("base accuracy", arm))]
        same = max(bases) - min(bases) < 5e-4
        span = f"{min(bases):.3f}" if same else f"{min(bases):.3f} to {max(bases):.3f}"
        cards.append({"label": "before training", "value": span, "note": "base accuracy"})
    return cards


def comparison(sweep: Sweep) -> pd.DataFrame:
    """Returns the first table: the final accuracy on each task, a row per arm."""
    metrics = [m for m in dict.fromkeys(sweep.statistics.get("metric", [])) if str(m).startswith("final accuracy")]
    rows = []
    for arm in sweep.arms:
        started = [m for m in sweep.arm_members(arm) if m.standing in ("counted", "unfinished")]
        row: dict[str, str] = {
            "arm": arm.label,
            "runs": f"{sum(m.standing == 'counted' for m in started)} of {len(started)}",
            "before": number(sweep.row("base accuracy", arm), "mean", ".3f"),
        }
        for metric in metrics:
            statistics, extra = sweep.row(metric, arm), metric.removeprefix("final accuracy")
            row |= {
                f"final accuracy{extra}": cell(statistics, "mean", ".3f"),
                f"IQM{extra}": cell(statistics, "iqm", ".3f"),
                f"minus {named_baseline(sweep)}{extra}": cell(statistics, "difference", "+.3f"),
                f"p (Holm){extra}": p_value(statistics.get("p_holm")),
                f"P(better){extra}": cell(statistics, "probability", ".2f"),
            }
        rows.append(row)
    return pd.DataFrame(rows if len(sweep.statistics) else [])


def others(sweep: Sweep) -> pd.DataFrame:
    formats = {m: f for m, f in OTHERS.items() if m in set(sweep.statistics.get("metric", []))}
    rows = [{"arm": arm.label, **{m: cell(sweep.row(m, arm), "mean", f) for m, f in formats.items()}}
            for arm in sweep.arms]  # fmt: skip
    return pd.DataFrame(rows if formats else [])


def cell(row: dict[str, Any], name: str, form: str) -> str:
    """Returns `0.930 [0.917, 0.943]`, without the brackets where there is no interval."""
    if pd.isna(row.get(name)):
        return NONE
    mean, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    interval = "" if pd.isna(low) else f" [{format_number(low, form)}, {format_number(high, form)}]"
    return format_number(mean, form) + interval


def number(row: dict[str, Any], name: str, form: str) -> str:
    return NONE if pd.isna(row.get(name)) else format_number(row[name], form)


def format_number(value: Any, form: str) -> str:
    """Formats with a minus sign as wide as a plus; `3 digits` (2,090, 2.64) suits values over orders of magnitude."""
    text = f"{float(f'{value:.3g}'):,.12g}" if form == "3 digits" else f"{value:{form}}"
    return text.replace("-", "−")


def p_value(p: float | None) -> str:
    if p is None or pd.isna(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def explained(sweep: Sweep) -> str:
    """Returns the text below the table: how to read it, and the limits of a test with so few pairs."""
    text = (
        "Means and interquartile means (IQM) over seeds with 95 % intervals. Differences are paired by seed; their "
        "p-values are of Student's paired t test, adjusted by Holm for all arms of the table. P(better) is the "
        "probability that a run of the arm ends above one of the baseline, with its bootstrap interval."
    )
    pairs = [row["pairs"] for arm in sweep.arms if pd.notna((row := sweep.row("final accuracy", arm)).get("pairs"))]
    if pairs and min(pairs) < 10:
        n = int(min(pairs))
        text += (
            f" With {n} pair{'s' * (n != 1)} an exact sign-flip test cannot go below p = {2 / 2**n:.2g}: the p-values "
            "here rest on differences that are roughly normal."
        )
    return text


def report_command(sweep: Sweep, options: Sequence[str]) -> str:
    """Returns the command that writes this report, with the options that were given."""
    return shlex.join(["python", "-m", "tgpo.report", *map(str, sweep.directories), *options])


def run_row(member: Member, folder: Path | None) -> dict[str, Any]:
    page, arm = member.run.path / "report" / "report.html", member.arm
    accuracy = member.numbers["final accuracy"]
    return {
        "name": member.name,
        "link": quote(os.path.relpath(page, folder)) if folder and page.is_file() else None,
        "arm": arm.label if arm else NONE,
        "seed": NONE if member.seed is None else member.seed,
        "state": member.state if member.standing in ("counted", "unfinished") else f"{member.state}, not counted",
        "accuracy": NONE if pd.isna(accuracy) else f"{accuracy:.3f}",
        "command": run_command(member.run),
    }


def markdown(sweep: Sweep) -> str:
    """Returns the page's two tables, its list of unfinished runs and its notes as Markdown."""
    code: Callable[[Arm], str] = lambda arm: f"`{arm.label}`"  # noqa: E731
    parts = []
    for table in (comparison(sweep), others(sweep)):
        if len(table):
            table = table.assign(arm=[code(arm) for arm in sweep.arms])
            parts.append(table.to_markdown(index=False, disable_numparse=True))
    parts += [f"{m.name}: {m.state}, step {m.run.status.get('step', NONE)}, {m.reason}" for m in sweep.of("unfinished")]
    return "\n\n".join([*parts, *map(str, sweep.notes)]) + "\n"
