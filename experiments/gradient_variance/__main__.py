"""`python -m experiments.gradient_variance` measures the noise of each objective's gradient at frozen students."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from experiments.sweeps import ROOT
from experiments.tables import PANEL_NAME
from tgpo.config.compose import request_from
from tgpo.errors import Parser, exit_on_error
from tgpo.report.figures import COLOURS, to_svg
from tgpo.runs.files import write_whole
from tgpo.runs.provenance import provenance
from tgpo.training.components import build_components
from tgpo.training.run import demonstrations

RESULTS = ROOT / "results" / "gradient_variance"
STUDENTS = ("tiny-small-gap", "tiny-gap-1", "tiny-gap-2", "tiny-gap-4", "tiny-large-gap", "tiny-peaked")
OBJECTIVES = ("tgpo", "rkl", "kdrl", "grpo", "luffy", "sft", "gkd", "fkl", "tgpo_adv")
SEED = 200  # used by no training run
TINY = 1e-30


def gram(student: str, objective: str, batches: int) -> np.ndarray:
    """Returns the inner products of the gradients of independent rollout batches, all that the statistics need.

    All gradients are those of step 1: the change of a weight that falls with the step would be counted as noise.
    """
    request = request_from([f"student={student}", f"tuned={objective}", f"seed={SEED}", "metrics.divergence_every=0"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_components(request, None, demonstrations(request, Path(folder))).trainer
        gradients_NP = torch.stack([trainer.gradient(k, step=1) for k in range(1, batches + 1)])
    return (gradients_NP @ gradients_NP.T).double().numpy()


def noise(gram_NN: np.ndarray) -> dict[str, float]:
    """Returns the `trace` of a batch gradient's covariance, `signal`, the unbiased square of its mean, and their ratio.

    `signal` is the mean of `g_i . g_j` over i != j; the ratio is the number of batches that would have to be averaged
    for as much signal as noise.
    """
    n = len(gram_NN)
    diagonal = np.trace(gram_NN)
    signal = (gram_NN.sum() - diagonal) / (n * (n - 1))
    trace = diagonal / n - signal
    return {"trace": trace, "signal": signal, "noise to signal": trace / signal if signal > 0 else math.inf}


def jackknifed(gram_NN: np.ndarray, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """Returns a 95 % jackknife interval, which leaves out one batch at a time.

    A bootstrap would draw batches twice, and the product of a batch with itself would look like signal.
    """
    n = len(gram_NN)
    left_N = np.array([statistic(np.delete(np.delete(gram_NN, i, 0), i, 1)) for i in range(n)])
    error = math.sqrt((n - 1) / n * float(((left_N - left_N.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    return statistic(gram_NN) - reach, statistic(gram_NN) + reach


def log_ratio(gram_NN: np.ndarray) -> float:
    return math.log(max(noise(gram_NN)["noise to signal"], TINY))


def measured(student: str, objective: str, batches: int) -> dict[str, Any]:
    started = time.perf_counter()
    gram_NN = gram(student, objective, batches)
    statistics = noise(gram_NN)
    low = high = math.nan
    if math.isfinite(statistics["noise to signal"]):
        low, high = (math.exp(min(end, 700.0)) for end in jackknifed(gram_NN, log_ratio))
    interval = {"noise to signal low": low, "noise to signal high": high}
    return {"student": student, "objective": objective, "batches": batches, **statistics, **interval,
            "seconds": time.perf_counter() - started}  # fmt: skip


def table(data: pd.DataFrame) -> str:
    """Returns noise to signal with its interval, a row per objective and a column per student, sorted by their gaps."""
    rows = []
    for objective, group in data.groupby("objective", sort=False):
        cells = {row["student"]: shown(row) for row in group.to_dict("records")}
        rows.append({"noise to signal": f"`{objective}`"} | cells)
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


def shown(row: dict[Any, Any]) -> str:
    low, high = row["noise to signal low"], row["noise to signal high"]
    if pd.isna(low):
        return "no signal seen"
    return f"{row['noise to signal']:.3g} [{low:.2g}, {high:.2g}]"


def figure(data: pd.DataFrame) -> str:
    """Draws noise to signal against the student, a panel per objective; a cell without a signal has no point."""
    seen = data[np.isfinite(data["noise to signal"]) & data["noise to signal low"].notna()]
    scale = alt.Scale(
        type="log", domain=[seen["noise to signal"].min() / 2, seen["noise to signal"].max() * 2], clamp=True
    )
    base = alt.Chart(seen).encode(
        x=alt.X("student:N", title="student, by its gap", sort=list(STUDENTS), axis=alt.Axis(labelAngle=-35)),
        color=alt.value(COLOURS[0]),
    )
    layers = alt.layer(
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("noise to signal low:Q"), y2="noise to signal high:Q"),
        base.mark_point(filled=True, size=50, opacity=1).encode(
            y=alt.Y("noise to signal:Q", title="noise to signal", scale=scale, axis=alt.Axis(tickCount=4, format="~g"))
        ),
    )
    return to_svg(
        layers.properties(width=170, height=130).facet(
            alt.Facet("objective:N", header=PANEL_NAME, sort=list(OBJECTIVES)), columns=3
        )
    )


def main() -> None:
    parser = Parser(prog="python -m experiments.gradient_variance", description=__doc__)
    parser.add_argument("--batches", type=int, default=32, help="independent rollout batches (default: 32)")
    parser.add_argument(
        "--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES, metavar="NAME",
        help="measure these, and keep the committed numbers of the others (default: all)",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="the table from the committed noise.csv")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not args.again:
        rows = []
        if set(args.objectives) < set(OBJECTIVES):
            known = pd.read_csv(RESULTS / "noise.csv")
            rows = known[~known["objective"].isin(args.objectives)].to_dict("records")
        for student in STUDENTS:
            for objective in args.objectives:
                rows.append(measured(student, objective, args.batches))
                print(f"{student:16} {objective:10} noise to signal {shown(rows[-1])}", flush=True)
        rows.sort(key=lambda row: (STUDENTS.index(row["student"]), OBJECTIVES.index(row["objective"])))
        write_whole(RESULTS / "noise.csv", pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
        origin = provenance({"seed": SEED})
        made = {name: origin[name] for name in ("versions", "hardware", "git") if name in origin}
        record = {"command": "make reproduce EXP=gradient_variance", "seed": SEED, **made,
                  "seconds": sum(row["seconds"] for row in rows)}  # fmt: skip
        write_whole(RESULTS / "manifest.json", json.dumps(record, indent=1) + "\n")
    data = pd.read_csv(RESULTS / "noise.csv")
    write_whole(RESULTS / "table.md", table(data))
    write_whole(RESULTS / "figure.svg", figure(data))
    print((RESULTS / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    with exit_on_error():
        main()
