"""Measures what an objective costs beyond `grpo` and beyond its teacher's forward pass: `make bench`.

One process, one batch shape, untrained models whose responses all run to the cap, so that the work is the same. In
each round every objective takes one step, in an order that rotates; a ratio is (step - teacher's forward) of the
objective over grpo's step of the same round. The teacher's forward, head included, is timed beside them on the same
batch, because for a full-vocabulary objective the teacher's head runs inside the update.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from benchmarks.record import format_ratio, setting, spread, write_results
from tgpo.config.compose import request_from
from tgpo.models.loading import load_tokenizer
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.training.components import build_components
from tgpo.training.trainer import Trainer
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import TEACHER_NEEDS
from tgpo.types.teacher import TeacherQuery

# hidden width, vocabulary: the shipped models' shape, and one with most of its parameters in the head
SHAPES = {"101": (128, 101), "32,000": (512, 32_000)}
OBJECTIVES = [
    "grpo", "constant_bonus", "tgpo_adv", "tgpo", "tgpo target=topk topk=20", "tgpo target=sample", "kdrl", "rkl",
    "rkl estimator=topk_loss", "rkl estimator=centered", "fkl", "fkl topk=20", "gkd", "sft", "luffy", "exopd",
    "stable_opd", "rlsd", "sdpo teacher=tiny", "opsd teacher=tiny", "sdft teacher=tiny", "grpo reference_kl=0.01",
    "rkl teacher.weights=live", "rkl teacher.weights=ema", "minillm", "iw_opd", "switch", "chord", "eopd", "topk_kd",
    "topk_kd tokens=union", "kd",
]  # fmt: skip
BESIDE, AT_ONCE = ["grpo", "rkl"], 10
PROMPTS, GROUP, CAP = 4, 8, 32
WARM_UP, COUNTED = 1, 5


def save_model(folder: Path, hidden: int, vocabulary: int, seed: int) -> None:
    """Saves an untrained model, and the tiny tokenizer filled up to the vocabulary with unused tokens."""
    tokenizer = load_tokenizer("tiny:teacher")
    tokenizer.add_tokens([f"<unused{i}>" for i in range(vocabulary - len(tokenizer))])
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, head_dim=hidden // 4, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # EOS is no likelier than others: the cap ends responses
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def trainer_for(objective: str, folder: Path) -> Trainer:
    name, *options = objective.split()
    request = request_from(
        [
            f"objective={name}",
            *(option if option.startswith("teacher") else f"objective.{option}" for option in options),
            f"student.path={folder / 'student'}",
            f"teacher.path={folder / 'teacher'}",
            f"rollout.prompts_per_batch={PROMPTS}",
            f"rollout.group_size={GROUP}",
            f"rollout.max_response_length={CAP}",
            "train.lr=1e-9",
            "metrics.gradient_variance_every=0",
            "metrics.divergence_every=0",
        ]
    )
    steps = range(1, WARM_UP + COUNTED + 1)
    problems = [p for k in steps for p in request.task.train_problems(0, k, PROMPTS)]
    demonstrations = Demonstrations({(p.id, p.prompt): [(*range(9, 9 + CAP - 1), 1)] * GROUP for p in problems})
    return build_components(request, None, demonstrations).trainer


def measure(shape: str, folder: Path) -> list[dict[str, Any]]:
    """Returns a row per objective: seconds per step, the teacher's forward in it, and the rest over grpo's step.

    A few objectives at a time, with `grpo` and `rkl` beside them: each keeps a student of its own in memory.
    """
    save_model(folder / "student", *SHAPES[shape], seed=0)
    save_model(folder / "teacher", *SHAPES[shape], seed=1)
    others = [name for name in OBJECTIVES if name not in BESIDE]
    groups = [others[i : i + AT_ONCE] for i in range(0, len(others), AT_ONCE)]
    first, *more = (measure_group(shape, folder, BESIDE + group) for group in groups)
    return first + [row for rows in more for row in rows[len(BESIDE) :]]


def measure_group(shape: str, folder: Path, objectives: list[str]) -> list[dict[str, Any]]:
    trainers = {objective: trainer_for(objective, folder) for objective in objectives}
    steps: dict[str, list[float]] = {objective: [] for objective in objectives}
    forwards: list[float] = []
    for k in range(1, WARM_UP + COUNTED + 1):
        first = k % len(objectives)
        for objective in objectives[first:] + objectives[:first]:
            started = time.perf_counter()
            _, collected = trainers[objective].step(k)
            steps[objective].append(time.perf_counter() - started)
            if objective == "grpo":
                forwards.append(teacher_forward(trainers["rkl"], collected.batch.tokens))
    return [row(shape, trainers[name], name, steps[name], forwards, steps["grpo"]) for name in objectives]


def teacher_forward(trainer: Trainer, tokens: TokenBatch) -> float:
    assert trainer.collector.panel is not None
    started = time.perf_counter()
    trainer.collector.panel.members[0].teacher.score(tokens, TeacherQuery())
    return time.perf_counter() - started


def row(
    shape: str, trainer: Trainer, name: str, steps: list[float], forwards: list[float], grpo: list[float]
) -> dict[str, Any]:
    needs_teacher = bool(trainer.objective.needs & TEACHER_NEEDS)
    ratios = [(s - f * needs_teacher) / g for s, f, g in zip(steps, forwards, grpo, strict=True)][WARM_UP:]
    return {
        "vocabulary": shape,
        "objective": name,
        "seconds_a_step": statistics.median(steps[WARM_UP:]),
        "teacher_forward": statistics.median(forwards[WARM_UP:]) if needs_teacher else 0.0,
        "rest_over_grpo": spread(ratios),
    }


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.objective_cost", description=__doc__).parse_args()
    logging.disable_progress_bar()
    rows = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(shape, Path(folder))
    record = {
        **setting(
            f"{PROMPTS} prompts x {GROUP} responses x {CAP} tokens, {COUNTED} rounds after {WARM_UP} of warm-up",
            "torch",
            "transformers",
        ),
        "shapes": {name: {"hidden": h, "vocabulary": v} for name, (h, v) in SHAPES.items()},
        "rows": rows,
    }
    write_results("objective_cost", record, table(record))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    lines = [
        "| objective | vocabulary | step | of it, teacher | the rest / grpo, median [min, max] |",
        "| --- " * 5 + "|",
    ]
    for row in record["rows"]:
        ratio = row["rest_over_grpo"]
        seconds = f"{row['seconds_a_step']:.2f} | {row['teacher_forward']:.2f}"
        lines.append(f"| `{row['objective']}` | {row['vocabulary']} | {seconds} | {format_ratio(ratio)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
