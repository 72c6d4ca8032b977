"""Measures whether time grows in proportion to arithmetic: four times the batch, the length, the model; `make bench`.

The runs are of `rkl` with an untrained student and teacher. Operations are counted from the actual tokens: 2 N for one
that is generated or scored and 6 N for one that is trained on, where N is the number of parameters without the
embedding, plus twice (six times) the products of attention. The shapes take turns. A rate is a step's operations over
its seconds; the share is relative to the rate of a float32 matrix product, measured in the same rounds on the same
number of threads. The figure plots a step's time against its operations.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch
from transformers.utils import logging

from benchmarks.objective_cost import save_model
from benchmarks.record import HERE, format_ratio, setting, spread, write_results
from tgpo.config.compose import request_from
from tgpo.functional.batching import by_token_budget
from tgpo.report.figures import COLOURS, to_svg
from tgpo.training.collector import CollectedBatch
from tgpo.training.components import build_components
from tgpo.training.trainer import Trainer

GROUP = 8
BASE = {"prompts": 16, "length": 64, "width": 128}
SHAPES = {
    "base": BASE,
    "4 × the batch": BASE | {"prompts": 64},
    "4 × the length": BASE | {"length": 256},
    "4 × the model": BASE | {"width": 256},
}
WARM_UP, COUNTED = 1, 5
PHASES = ("rollout", "teacher", "update")
TICKS = [1, 2, 4, 8]
NEAR = 0.15  # half the width of the figure's band around proportional time
SIDE = 1024  # size of the square matrices whose product gives the peak


def trainer_for(folder: Path, shape: dict[str, int]) -> Trainer:
    student, teacher = folder / "student", folder / "teacher"
    save_model(student, shape["width"], 101, seed=0)
    save_model(teacher, shape["width"], 101, seed=1)
    options = [
        "objective=rkl",
        f"student.path={student}",
        f"teacher.path={teacher}",
        f"rollout.prompts_per_batch={shape['prompts']}",
        f"rollout.group_size={GROUP}",
        f"rollout.max_response_length={shape['length']}",
        "train.lr=1e-9",
        "metrics.gradient_variance_every=0",
        "metrics.divergence_every=0",
    ]
    return build_components(request_from(options), None).trainer


def arithmetic(trainer: Trainer, collected: CollectedBatch) -> float:
    """Returns the step's floating-point operations: each token is generated, scored and trained on once."""
    model: Any = trainer.policy.model
    config, weights = (
        model.config,
        sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel(),
    )
    length_B = collected.batch.tokens.length_B.double()
    attention = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * float((length_B**2).sum())
    return (2 + 2 + 6) * weights * float(length_B.sum()) + (1 + 1 + 3) * attention


def padding(trainer: Trainer, collected: CollectedBatch) -> float:
    """Returns the share of an update's tokens that are padding."""
    length_B = collected.batch.tokens.length_B
    parts = by_token_budget(length_B, trainer.options.max_tokens_per_micro_batch)
    return 1 - float(length_B.sum()) / sum(float(length_B[rows].max()) * len(rows) for rows in parts)


def peak() -> float:
    """Returns the operations per second of a large matrix product."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    left @ right
    started = time.perf_counter()
    for _ in range(10):
        left @ right
    return 10 * 2 * SIDE**3 / (time.perf_counter() - started)


def measure() -> list[dict[str, Any]]:
    """Returns a row per shape: phases in seconds; `over_proportional` is a step's time over that at the base's rate."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in SHAPES}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: trainer_for(Path(folder) / str(i), shape) for i, (name, shape) in enumerate(SHAPES.items())}
        for k in range(1, WARM_UP + COUNTED + 1):
            rate = peak()
            for name, trainer in trainers.items():
                record, collected = trainer.step(k)
                work, seconds = arithmetic(trainer, collected), float(record["time/step"])
                measured[name].append(
                    {
                        "seconds": seconds,
                        **{phase: float(record[f"time/{phase}"]) for phase in PHASES},
                        "operations": work,
                        "operations_a_second": work / seconds,
                        "share_of_peak": work / seconds / rate,
                        "padding": padding(trainer, collected),
                    }
                )
    return [{"shape": name, **SHAPES[name], **summary(rounds, measured["base"])} for name, rounds in measured.items()]


def summary(rounds: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    """Returns medians over the counted rounds; ratios are to the base's in the same round."""
    counted = list(zip(rounds, base, strict=True))[WARM_UP:]
    over = [b["operations_a_second"] / own["operations_a_second"] for own, b in counted]
    return {
        **{key: statistics.median(own[key] for own, _ in counted) for key in rounds[0]},
        "over_proportional": spread(over),
        "work_over_base": statistics.median(own["operations"] / b["operations"] for own, b in counted),
        "time_over_base": spread([own["seconds"] / b["seconds"] for own, b in counted]),
    }


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__).parse_args()
    logging.disable_progress_bar()
    record = {
        **setting(
            f"base: {BASE['prompts']} prompts x {GROUP} responses x {BASE['length']} tokens, width {BASE['width']}",
            "torch",
            "transformers",
        ),
        "rows": measure(),
    }
    write_results("growth", record, table(record))
    (HERE / "results" / "growth.svg").write_text(figure(record["rows"]))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    lines = [
        "| | seconds a step | rollout, teacher, update | of the matrix product's peak | time / proportional to base, "
        "median [min, max] | padding |",
        "| --- " * 6 + "|",
    ]
    for row in record["rows"]:
        phases = ", ".join(f"{row[phase]:.2f}" for phase in PHASES)
        cells = [row["shape"], f"{row['seconds']:.2f}", phases, f"{row['share_of_peak']:.0%}"]
        lines.append(
            "| " + " | ".join([*cells, format_ratio(row["over_proportional"]), f"{row['padding']:.1%}"]) + " |"
        )
    return "\n".join(lines) + "\n"


def figure(rows: list[dict[str, Any]]) -> str:
    """Draws a step's time against its operations, as multiples of the base's; the band is 15 % around proportional."""
    points = pd.DataFrame(
        {"shape": row["shape"], "work": row["work_over_base"], **row["time_over_base"]} for row in rows
    )
    ends = [0.7, 1.9 * max(points["work"].max(), points["max"].max())]
    line = pd.DataFrame({"work": ends, "time": ends, "low": [(1 - NEAR) * w for w in ends],
                         "high": [(1 + NEAR) * w for w in ends]})  # fmt: skip
    scale = alt.Scale(type="log", domain=ends, nice=False)
    x = alt.X("work:Q", title="arithmetic of a step, of the base's", scale=scale, axis=alt.Axis(values=TICKS))
    y = alt.Axis(values=TICKS)
    proportional, measured = alt.Chart(line).encode(x=x), alt.Chart(points).encode(x=x)
    return to_svg(
        alt.layer(
            proportional.mark_area(color="#8A8F98", opacity=0.2, clip=True).encode(
                y=alt.Y("low:Q", scale=scale), y2="high:Q"
            ),
            proportional.mark_line(color="#8A8F98", strokeDash=[3, 3], strokeWidth=1.2).encode(y="time:Q"),
            measured.mark_rule(color=COLOURS[0], strokeWidth=1.6).encode(y="min:Q", y2="max:Q"),
            measured.mark_point(color=COLOURS[0], filled=True, size=60, opacity=1).encode(
                y=alt.Y("median:Q", title="time of a step, of the base's", axis=y)
            ),
            *(
                measured.transform_filter(which)
                .mark_text(align=align, dx=dx, color="#333")
                .encode(y="median:Q", text="shape:N")
                for which, align, dx in (
                    ("datum.median > datum.work", "right", -9),
                    ("datum.median <= datum.work", "left", 9),
                )
            ),
        ).properties(width=380, height=300)
    )


if __name__ == "__main__":
    main()
