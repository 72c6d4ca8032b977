"""`python -m experiments.engine_parity [SWEEP]` writes results/engine_parity/ from a sweep."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from tgpo.report.collect import RunFiles, read_run
from tgpo.rundir import write_whole

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "engine_parity"
COMMAND = "python run.py -m experiment=engine_parity"


def summary_row(run: RunFiles) -> dict[str, Any]:
    accuracy = run.accuracy()["accuracy"]
    return {
        "engine": run.config["rollout"]["backend"],
        "seed": run.config["seed"],
        "base accuracy": accuracy.iloc[0],
        "final accuracy": accuracy.iloc[-1],
        "lowest accuracy": accuracy.min(),
        "final length": run.train["response/length_mean"].tail(10).mean(),
        "largest logprob gap": run.train["policy/sampler_logprob_gap"].max(),
        "tokens a second": run.train["throughput/response_tokens_per_second"].median(),
        "seconds": run.status["timings"]["seconds"],
    }


def table(summary: pd.DataFrame) -> str:
    """Means over seeds, lowest and highest in brackets, and the difference with its 95 % interval (Welch)."""
    rows = []
    for engine, runs in summary.groupby("engine"):
        row: dict[str, Any] = {"engine": f"`{engine}`", "runs": len(runs)}
        for name, form in (("final accuracy", ".3f"), ("lowest accuracy", ".3f"), ("final length", ".1f"),
                           ("largest logprob gap", ".1e"), ("tokens a second", ",.0f")):  # fmt: skip
            low, high = runs[name].min(), runs[name].max()
            row[name] = f"{runs[name].mean():{form}} [{low:{form}}, {high:{form}}]"
        rows.append(row)
    hf, vllm = (summary[summary["engine"] == engine]["final accuracy"] for engine in ("hf", "vllm"))
    test = stats.ttest_ind(vllm, hf, equal_var=False)
    interval = test.confidence_interval(0.95)
    difference = f"{vllm.mean() - hf.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return pd.DataFrame(rows).to_markdown(index=False) + f"\n\nFinal accuracy, vllm less hf: {difference}\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.engine_parity", description=__doc__)
    parser.add_argument("sweep", nargs="?", type=Path, help="the sweep's folder (default: the newest)")
    sweep = parser.parse_args().sweep or max((ROOT / "multirun" / "engine_parity").iterdir())
    runs = [read_run(path.parent) for path in sorted(sweep.glob("*/config.yaml"))]
    done = [run for run in runs if run.status.get("status") == "done"]
    summary = pd.DataFrame([summary_row(run) for run in done]).sort_values(["engine", "seed"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    write_whole(RESULTS / "table.md", table(pd.read_csv(RESULTS / "summary.csv")))
    manifest = {
        "command": COMMAND,
        "runs_done": len(done),
        "runs_not_done": [run.path.name for run in runs if run not in done],
        "revisions": sorted({run.provenance["git"]["revision"] for run in done if run.provenance["git"]}),
        **{key: done[-1].provenance[key] for key in ("versions", "hardware")},
        "seconds": float(summary["seconds"].sum()),
    }
    write_whole(RESULTS / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    readme, there = Path(__file__).parent / "README.md", re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.S)
    shown = (RESULTS / "table.md").read_text()
    write_whole(readme, there.sub(lambda _: shown, readme.read_text(encoding="utf-8")))
    print(shown)


if __name__ == "__main__":
    main()
