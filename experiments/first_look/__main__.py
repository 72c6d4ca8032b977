"""`python -m experiments.first_look [SWEEP]` writes results/first_look/ from a sweep; `make figures` calls it."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from experiments.sweeps import ROOT, asked_for, sitting, write_manifest
from tgpo.errors import exit_on_error
from tgpo.report.collect import RunFiles, run_numbers
from tgpo.report.figures import COLOURS, HEIGHT, to_svg
from tgpo.report.markdown import mean_and_range
from tgpo.runs.files import write_whole

RESULTS = ROOT / "results" / "first_look"
COMMAND = "python run.py -m experiment=first_look"
ORDER = ["tgpo", "rkl", "grpo"]
NUMBERS = ("base accuracy", "final accuracy", "lowest accuracy", "first length", "final length", "truncated",
           "reverse KL", "gradient norm", "gradient variance")  # fmt: skip


def curves(run: RunFiles) -> pd.DataFrame:
    columns = {"response/length_mean": "length", "gradient/norm": "gradient norm", "step": "step"}
    train = run.train[list(columns)].rename(columns=columns).melt("step", var_name="metric", value_name="value")
    accuracy = run.accuracy().melt("step", var_name="metric", value_name="value")
    both = pd.concat([accuracy, train])
    return both.assign(objective=run.config["choices"]["objective"], seed=run.config["seed"])


def summary_row(run: RunFiles) -> dict[str, Any]:
    numbers = run_numbers(run)
    return {
        "objective": run.config["choices"]["objective"],
        "seed": run.config["seed"],
        **{name: numbers[name] for name in NUMBERS},
        "seconds": run.status["timings"]["seconds"],
    }


def table(summary: pd.DataFrame) -> str:
    """Returns the means over seeds, with the lowest and highest seed in brackets."""
    rows = []
    for objective in ORDER:
        runs = summary[summary["objective"] == objective]
        row = {"objective": f"`{objective}`", "runs": len(runs), "base": f"{runs['base accuracy'].mean():.3f}"}
        for name, form in (("final accuracy", ".3f"), ("lowest accuracy", ".3f"), ("final length", ".0f"),
                           ("truncated", ".2f"), ("reverse KL", ".2f"), ("gradient norm", ".1f")):  # fmt: skip
            row[name] = mean_and_range(runs[name], form)
        rows.append(row)
    return pd.DataFrame(rows).to_markdown(index=False) + "\n"


def figure(data: pd.DataFrame, metric: str, title: str, unit: str) -> str:
    """Draws each objective's mean over seeds, and a band from the lowest to the highest seed."""
    chosen = data[data["metric"] == metric]
    grouped = chosen.groupby(["objective", "step"])["value"].agg(["mean", "min", "max"]).reset_index()
    base = alt.Chart(grouped, title=title).encode(
        x=alt.X("step:Q", title="step (rollout batch)"),
        color=alt.Color(
            "objective:N", title=None,
            legend=alt.Legend(orient="top", symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3),
            scale=alt.Scale(domain=ORDER, range=list(COLOURS[: len(ORDER)])),
        ),
    )  # fmt: skip
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("min:Q", title=unit), y2="max:Q")
    line = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("mean:Q", title=unit))
    return to_svg(alt.layer(band, line).properties(width=380, height=HEIGHT))


def main() -> None:
    done, unfinished = asked_for("first_look", __doc__)
    summary = pd.DataFrame([summary_row(run) for run in done]).sort_values(["objective", "seed"])
    data = pd.concat([curves(run) for run in done])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    write_whole(RESULTS / "table.md", table(summary))
    write_whole(RESULTS / "accuracy.svg", figure(data, "accuracy", "Held-out accuracy", "fraction right"))
    write_whole(RESULTS / "length.svg", figure(data, "length", "Response length", "tokens, mean"))
    write_manifest(RESULTS / "manifest.json", COMMAND, len(done), sitting(done, unfinished))
    print((RESULTS / "table.md").read_text())


if __name__ == "__main__":
    with exit_on_error():
        main()
