"""Whether time grows as the arithmetic does: four times the batch, the length, the model; `make bench`.

`rkl` with an untrained student and teacher. Arithmetic is counted from the tokens there were: 2 N for one that is
generated or scored and 6 N for one that is trained on, N without the embedding, and twice (six times) the products of
attention. The shapes take turns; a rate is a step's arithmetic over its seconds, the share is of the matrix product's
own rate in float32, measured in the same rounds on as many threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from benchmarks.objective_cost import save_model
from benchmarks.record import setting, write_results
from tgpo.compose import request_from
from tgpo.engine import Collected
from tgpo.functional.batching import by_token_budget
from tgpo.run import build
from tgpo.trainer import Trainer

GROUP = 8
BASE = {"prompts": 16, "length": 64, "width": 128}
SHAPES = {
    "base": BASE,
    "4 × the batch": BASE | {"prompts": 64},
    "4 × the length": BASE | {"length": 256},
    "4 × the model": BASE | {"width": 256},
}
WARM_UP, COUNTED = 1, 5
SIDE = 1024  # of the square matrices whose product gives the peak


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
    return build(request_from(options), None).trainer


def arithmetic(trainer: Trainer, collected: Collected) -> float:
    """Floating-point operations of the step: generated once, scored by the teacher once, trained on."""
    model: Any = trainer.policy.model
    config, weights = (
        model.config,
        sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel(),
    )
    length_B = collected.batch.tokens.length_B.double()
    attention = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * float((length_B**2).sum())
    return (2 + 2 + 6) * weights * float(length_B.sum()) + (1 + 1 + 3) * attention


def padding(trainer: Trainer, collected: Collected) -> float:
    """The share of an update's tokens that are padding."""
    length_B = collected.batch.tokens.length_B
    parts = by_token_budget(length_B, trainer.options.max_tokens_per_micro_batch)
    return 1 - float(length_B.sum()) / sum(float(length_B[rows].max()) * len(rows) for rows in parts)


def peak() -> float:
    """Operations a second of one large matrix product."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    left @ right
    started = time.perf_counter()
    for _ in range(10):
        left @ right
    return 10 * 2 * SIDE**3 / (time.perf_counter() - started)


def measure() -> list[dict[str, Any]]:
    rates: dict[str, list[float]] = {name: [] for name in SHAPES}
    seconds: dict[str, list[float]] = {name: [] for name in SHAPES}
    padded: dict[str, list[float]] = {name: [] for name in SHAPES}
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: trainer_for(Path(folder) / str(i), shape) for i, (name, shape) in enumerate(SHAPES.items())}
        for k in range(1, WARM_UP + COUNTED + 1):
            peaks.append(peak())
            for name, trainer in trainers.items():
                started = time.perf_counter()
                _, collected = trainer.step(k)
                seconds[name].append(time.perf_counter() - started)
                rates[name].append(arithmetic(trainer, collected) / seconds[name][-1])
                padded[name].append(padding(trainer, collected))
    return [
        {
            "shape": name,
            **SHAPES[name],
            "seconds_a_step": statistics.median(seconds[name][WARM_UP:]),
            "operations_a_second": statistics.median(rates[name][WARM_UP:]),
            "padding": statistics.median(padded[name][WARM_UP:]),
            "share_of_peak": statistics.median(r / p for r, p in zip(rates[name], peaks, strict=True)),
            "time_over_proportional": statistics.median(b / r for b, r in zip(rates["base"], rates[name], strict=True)),
        }
        for name in SHAPES
    ]


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


def table(record: dict[str, Any]) -> str:
    """The README's rows, from the JSON."""
    lines = [
        "| | seconds a step | GFLOP a second | of the matrix product's | time / proportional to base | padding |",
        "| --- " * 6 + "|",
    ]
    for row in record["rows"]:
        cells = [row["shape"], f"{row['seconds_a_step']:.2f}", f"{row['operations_a_second'] / 1e9:.0f}"]
        cells += [f"{row['share_of_peak']:.0%}", f"{row['time_over_proportional']:.2f}", f"{row['padding']:.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
