"""`python -m experiments.first_look [SWEEP]` writes results/first_look/ from a sweep; `make figures` calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from tgpo.report.collect import RunFiles, read_run
from tgpo.report.figures import COLOURS, HEIGHT, to_svg
from tgpo.rundir import write_whole

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "first_look"
ORDER = ["tgpo", "rkl", "grpo"]
LAST = 10  # steps at the end of a run that its training metrics are averaged over


def newest_sweep() -> Path:
    return max((ROOT / "multirun" / "first_look").iterdir())


def curves(run: RunFiles) -> pd.DataFrame:
    columns = {"response/length_mean": "length", "gradient/norm": "gradient norm", "step": "step"}
    train = run.train[list(columns)].rename(columns=columns).melt("step", var_name="metric", value_name="value")
    accuracy = run.accuracy().melt("step", var_name="metric", value_name="value")
    both = pd.concat([accuracy, train])
    return both.assign(objective=run.config["choices"]["objective"], seed=run.config["seed"])


def summary_row(run: RunFiles) -> dict[str, Any]:
    accuracy, end = run.accuracy()["accuracy"], run.train.tail(LAST)
    return {
        "objective": run.config["choices"]["objective"],
        "seed": run.config["seed"],
        "base accuracy": accuracy.iloc[0],
        "final accuracy": accuracy.iloc[-1],
        "lowest accuracy": accuracy.min(),
        "first length": run.train["response/length_mean"].iloc[0],
        "final length": end["response/length_mean"].mean(),
        "truncated": end["response/truncated_fraction"].mean(),
        "reverse KL": end["divergence/reverse_kl_k1"].mean(),
        "gradient norm": run.train["gradient/norm"].mean(),
        "gradient variance": run.train["gradient/variance"].mean(),
        "seconds": run.status["timings"]["seconds"],
    }


def table(summary: pd.DataFrame) -> str:
    """Mean over seeds with the lowest and highest seed in brackets."""
    rows = []
    for objective in ORDER:
        runs = summary[summary["objective"] == objective]
        row = {"objective": f"`{objective}`", "runs": len(runs), "base": f"{runs['base accuracy'].mean():.3f}"}
        for name, form in (("final accuracy", ".3f"), ("lowest accuracy", ".3f"), ("final length", ".0f"),
                           ("truncated", ".2f"), ("reverse KL", ".2f"), ("gradient norm", ".1f")):  # fmt: skip
            low, high = runs[name].min(), runs[name].max()
            row[name] = f"{runs[name].mean():{form}} [{low:{form}}, {high:{form}}]"
        rows.append(row)
    return pd.DataFrame(rows).to_markdown(index=False) + "\n"


def figure(data: pd.DataFrame, metric: str, title: str, unit: str) -> str:
    """Each objective's mean over seeds, and a band from the lowest to the highest seed."""
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
    parser = argparse.ArgumentParser(prog="python -m experiments.first_look", description=__doc__)
    parser.add_argument("sweep", nargs="?", type=Path, help="the sweep's folder (default: the newest)")
    sweep = parser.parse_args().sweep or newest_sweep()
    runs = [read_run(path.parent) for path in sorted(sweep.glob("*/config.yaml"))]
    done = [run for run in runs if run.status.get("status") == "done"]
    summary = pd.DataFrame([summary_row(run) for run in done]).sort_values(["objective", "seed"])
    data = pd.concat([curves(run) for run in done])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    write_whole(RESULTS / "table.md", table(summary))
    write_whole(RESULTS / "accuracy.svg", figure(data, "accuracy", "Held-out accuracy", "fraction right"))
    write_whole(RESULTS / "length.svg", figure(data, "length", "Response length", "tokens, mean"))
    manifest = {
        "command": "python run.py -m experiment=first_look",
        "runs_done": len(done),
        "runs_not_done": [run.path.name for run in runs if run not in done],
        "revisions": sorted({run.provenance["git"]["revision"] for run in done if run.provenance["git"]}),
        **{key: done[0].provenance[key] for key in ("versions", "hardware")},
        "seconds": float(summary["seconds"].sum()),
    }
    write_whole(RESULTS / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    print((RESULTS / "table.md").read_text())


if __name__ == "__main__":
    main()
