"""`python -m experiments.engine_parity [SWEEP]` writes results/engine_parity/ from a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from experiments.sweeps import ROOT, asked_for, sitting, write_manifest
from tgpo.errors import exit_on_error
from tgpo.report.collect import RunFiles, run_numbers
from tgpo.report.markdown import fill, mean_and_range
from tgpo.runs.files import write_whole

RESULTS = ROOT / "results" / "engine_parity"
COMMAND = "python run.py -m experiment=engine_parity"


def summary_row(run: RunFiles) -> dict[str, Any]:
    numbers = run_numbers(run)
    return {
        "engine": run.config["rollout"]["backend"],
        "seed": run.config["seed"],
        **{name: numbers[name] for name in ("base accuracy", "final accuracy", "lowest accuracy", "final length")},
        "largest logprob gap": run.train["policy/sampler_logprob_gap"].max(),
        "tokens a second": run.train["throughput/response_tokens_per_second"].median(),
        "seconds": run.status["timings"]["seconds"],
    }


def table(summary: pd.DataFrame) -> str:
    """Returns means over seeds, lowest and highest in brackets, and the difference with its 95 % interval (Welch)."""
    rows = []
    for engine, runs in summary.groupby("engine"):
        row: dict[str, Any] = {"engine": f"`{engine}`", "runs": len(runs)}
        for name, form in (("final accuracy", ".3f"), ("lowest accuracy", ".3f"), ("final length", ".1f"),
                           ("largest logprob gap", ".1e"), ("tokens a second", ",.0f")):  # fmt: skip
            row[name] = mean_and_range(runs[name], form)
        rows.append(row)
    hf, vllm = (summary[summary["engine"] == engine]["final accuracy"] for engine in ("hf", "vllm"))
    test = stats.ttest_ind(vllm, hf, equal_var=False)
    interval = test.confidence_interval(0.95)
    difference = f"{vllm.mean() - hf.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return pd.DataFrame(rows).to_markdown(index=False) + f"\n\nFinal accuracy, vllm less hf: {difference}\n"


def main() -> None:
    done, unfinished = asked_for("engine_parity", __doc__)
    summary = pd.DataFrame([summary_row(run) for run in done]).sort_values(["engine", "seed"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    write_whole(RESULTS / "table.md", table(pd.read_csv(RESULTS / "summary.csv")))
    write_manifest(RESULTS / "manifest.json", COMMAND, len(done), sitting(done, unfinished))
    text = (RESULTS / "table.md").read_text()
    fill(Path(__file__).parent / "README.md", "table", text)
    print(text)


if __name__ == "__main__":
    with exit_on_error():
        main()
