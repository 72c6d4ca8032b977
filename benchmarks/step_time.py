"""Compares the seconds per step with TRL's on the same work: `make bench`.

Both use the tiny student and teacher, the same prompts and threads, and float32 in one process, at two shapes. They
take turns step by step: each of our steps runs inside TRL's end-of-step callback, so that both are measured under the
same load. Learning rates are too small to change what is generated, so that the work stays the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from importlib import metadata
from typing import Any

import datasets
from transformers import TrainerCallback
from trl import DistillationConfig, DistillationTrainer, GRPOConfig, GRPOTrainer

from benchmarks.record import format_ratio, setting, spread, write_results
from tgpo.config.compose import request_from
from tgpo.models.loading import load_model, load_tokenizer
from tgpo.tasks.verifier import verify_responses
from tgpo.training.components import build_components
from tgpo.training.trainer import Trainer

GROUP = 8
SHAPES = {"24 × 8 × 64": (24, 64), "64 × 8 × 256": (64, 256)}  # prompts, and the most tokens of a response
# objective, TRL's trainer, its options, our teacher in the run without extra metrics
PAIRS = [
    ("grpo", "GRPOTrainer", {}, "none"),
    ("rkl", "DistillationTrainer", {"beta": 1.0}, "tiny"),
    ("gkd", "DistillationTrainer", {"beta": 0.5}, "tiny"),
]
LEARNING_RATE = 1e-7
WARM_UP, COUNTED = 2, 7
QUIET = ["metrics.gradient_variance_every=0", "metrics.divergence_every=0"]


def ours(objective: str, shape: tuple[int, int], teacher: str, *overrides: str) -> Trainer:
    """The trainer that `python run.py` builds."""
    shared = [
        f"objective={objective}",
        f"teacher={teacher}",
        f"rollout.prompts_per_batch={shape[0]}",
        f"rollout.group_size={GROUP}",
        f"rollout.max_response_length={shape[1]}",
        f"train.lr={LEARNING_RATE}",
    ]
    return build_components(request_from([*shared, *overrides]), None).trainer


def theirs(kind: str, options: dict[str, Any], folder: str, callback: TrainerCallback, trainer: Trainer) -> Any:
    """TRL's trainer on the same models and prompts, with everything optional switched off."""
    steps, rollout_options = WARM_UP + COUNTED, trainer.collector.options
    prompts = rollout_options.prompts_per_batch
    student, tokenizer = load_model("tiny:large-gap", "float32", "cpu"), load_tokenizer("tiny:large-gap")
    problems = [p for k in range(1, steps + 2) for p in trainer.collector.task.train_problems(0, k, prompts)]
    rows = [{"prompt": [{"role": "user", "content": p.prompt}], "answer": p.answer} for p in problems]
    shared = {
        "output_dir": folder,
        "per_device_train_batch_size": prompts * GROUP,
        "max_completion_length": rollout_options.max_response_length,
        "max_steps": steps,
        "learning_rate": LEARNING_RATE,
        "temperature": 1.0,
        "shuffle_dataset": False,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    if kind == "GRPOTrainer":

        def reward(completions: list, answer: list[str], **_: Any) -> list[float]:
            return verify_responses(answer, [c[0]["content"] for c in completions]).values

        arguments = GRPOConfig(num_generations=GROUP, beta=0.0, **shared)
        return GRPOTrainer(
            student, reward, args=arguments, train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer, callbacks=[callback],
        )  # fmt: skip
    repeated = datasets.Dataset.from_list([row for row in rows for _ in range(GROUP)]).select_columns("prompt")
    return DistillationTrainer(
        student, load_model("tiny:teacher", "float32", "cpu"), args=DistillationConfig(**options, **shared),
        train_dataset=repeated, processing_class=tokenizer, callbacks=[callback],
    )  # fmt: skip


class TakeTurns(TrainerCallback):
    """Runs a step of each of our trainers after each step of TRL's."""

    def __init__(self, trainers: dict[str, Trainer]) -> None:
        self.trainers = trainers
        self.seconds: dict[str, list[float]] = {name: [] for name in [*trainers, "trl"]}
        self.tokens: dict[str, list[float]] = {name: [] for name in trainers}
        self.mark = time.perf_counter()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.mark = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds["trl"].append(time.perf_counter() - self.mark)
        for name, trainer in self.trainers.items():
            started = time.perf_counter()
            _, collected = trainer.step(state.global_step)
            self.seconds[name].append(time.perf_counter() - started)
            self.tokens[name].append(float(collected.batch.mask_BT.sum()))
        self.mark = time.perf_counter()


def compare(shape: str, objective: str, kind: str, options: dict[str, Any], teacher: str) -> dict[str, Any]:
    """Returns the median seconds per step, and the ratios of pairs, TRL over ours."""
    size = SHAPES[shape]
    trainers = {"ours": ours(objective, size, teacher, *QUIET), "ours, all metrics": ours(objective, size, "tiny")}
    turns = TakeTurns(trainers)
    with tempfile.TemporaryDirectory() as folder:
        theirs(kind, options, folder, turns, trainers["ours"]).train()
    counted = {name: values[WARM_UP:] for name, values in turns.seconds.items()}
    ratios = [t / o for t, o in zip(counted["trl"], counted["ours"], strict=True)]
    return {
        "shape": shape,
        "objective": objective,
        "against": f"trl {metadata.version('trl')} {kind}",
        "seconds_a_step": {name: statistics.median(values) for name, values in counted.items()},
        "trl_over_ours": spread(ratios),
        "response_tokens_a_step": statistics.mean(turns.tokens["ours"]),
        "pairs": len(ratios),
    }


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.step_time", description=__doc__).parse_args()
    comparisons = [compare(shape, *pair) for shape in SHAPES for pair in PAIRS]
    record = {
        **setting(
            "prompts x rollouts of each x most tokens of a response, as each line says", "torch", "transformers", "trl"
        ),
        "comparisons": comparisons,
    }
    write_results("step_time", record, table(record))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    lines = [
        "| work | ours | against | TRL | ours | ours, all metrics | TRL / ours, median [min, max] |",
        "| --- " * 7 + "|",
    ]
    for row in record["comparisons"]:
        seconds, ratio = row["seconds_a_step"], row["trl_over_ours"]
        cells = [f"{seconds[name]:.2f}" for name in ("trl", "ours", "ours, all metrics")]
        lines.append(
            f"| {row['shape']} | `{row['objective']}` | {row['against']} | {' | '.join(cells)} | "
            f"{format_ratio(ratio)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
