"""Prints the tables of docs/scaling.md (`python -m tgpo.preflight.scaling`), from the formulas that a preflight uses.

The shapes are copied from the models' published config.json, so that nothing has to be fetched; the other settings are
those of the presets.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from tgpo.preflight.memory import Plan, Shape, TeacherPlan, arithmetic, checkpoint_bytes, passing, permanent, shape_of

GB = 1e9
PROMPT = 1024  # the paper's cap
BF16_PEAK, UTILISATION = 989e12, 0.35  # FLOP/s of an H100 SXM without sparsity (data sheet); fraction reached, a guess
BANDWIDTH, READS = 3.35e12, 0.5  # byte/s of its memory (the same sheet); fraction that decoding reaches, a guess

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2.5-0.5B": ("qwen2", {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}),
    "Qwen2.5-1.5B": ("qwen2", {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}),
    "Qwen2.5-7B": ("qwen2", {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False}),
    "Qwen3-1.7B": ("qwen3", {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "head_dim": 128,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936, "tie_word_embeddings": True}),
    "Qwen3-8B": ("qwen3", {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "head_dim": 128,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936, "tie_word_embeddings": False}),
    "Qwen3-30B-A3B": ("qwen3_moe", {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
        "head_dim": 128, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "tie_word_embeddings": False}),
}  # fmt: skip


@cache
def published(name: str) -> Shape:
    from transformers import AutoConfig

    kind, fields = CONFIGS[name]
    return shape_of(AutoConfig.for_model(kind, **fields))


def paper_plan(processes: int, response: int = 8192, teachers: tuple[TeacherPlan, ...] = ()) -> Plan:
    """Returns the plan of train=gpu with rollout=vllm-8k, or with vllm-3k if `response` is 3,000."""
    return Plan(
        rows=1024,
        prompt=PROMPT,
        response=response,
        micro_batch=16384,
        max_logits=2**27,
        dtype="bfloat16",
        checkpointing=True,
        second_gradient=False,
        adapters=0,
        processes=processes,
        rollout="vllm",
        scores_old=True,
        teachers=teachers,
    )


def memory_table() -> str:
    """Returns a table of the student's memory in GB on each device: held throughout, and temporary in an update."""
    lines = [
        "| student | processes | held | in an update | without gradient checkpointing | a checkpoint on disk |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, processes in (
        ("Qwen2.5-0.5B", 1),
        ("Qwen2.5-1.5B", 1),
        ("Qwen3-1.7B", 1),
        ("Qwen2.5-7B", 1),
        ("Qwen2.5-1.5B", 8),
        ("Qwen2.5-7B", 8),
        ("Qwen2.5-7B", 16),
    ):
        shape, plan = published(name), paper_plan(processes)
        held = sum(permanent(shape, plan).values()) / GB
        update = passing(shape, plan)["update"] / GB
        plain = passing(shape, replace(plan, checkpointing=False))["update"] / GB
        disk = checkpoint_bytes(shape) / GB
        lines.append(f"| {name} | {processes} | {held:.1f} | {update:.1f} | {plain:.1f} | {disk:.1f} |")
    return "\n".join(lines)


def engine_table() -> str:
    """Returns a table of the GB of an engine's weights in bfloat16, and of one response's keys and values."""
    lines = [
        "| model | parameters (B) | a token meets (B) | weights | keys and values of 9,216 tokens |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in CONFIGS:
        shape = published(name)
        cache_bytes = 4 * shape.layers * shape.keys * 9216 / GB
        billions, active = shape.parameters / 1e9, shape.active / 1e9
        lines.append(f"| {name} | {billions:.2f} | {active:.2f} | {2 * billions:.1f} | {cache_bytes:.2f} |")
    return "\n".join(lines)


def time_table() -> str:
    """Returns a table of minutes per step if all rollouts reach their cap: the work is a bound, the speed a guess."""
    lines = [
        "| student | teacher | cap | GPUs | PFLOP | update and scoring | teacher | rollouts |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for student, teacher, response, gpus in (
        ("Qwen2.5-1.5B", "Qwen2.5-7B", 3000, 1),
        ("Qwen2.5-1.5B", "Qwen3-30B-A3B", 8192, 8),
        ("Qwen2.5-7B", "Qwen3-30B-A3B", 8192, 8),
        ("Qwen2.5-7B", "Qwen3-30B-A3B", 8192, 16),
    ):
        student_shape, plan = published(student), paper_plan(gpus, response, (TeacherPlan(published(teacher), "vllm"),))
        work = arithmetic(student_shape, plan)
        speed = gpus * BF16_PEAK * UTILISATION * 60
        trained, scored = (work["update"] + work["old policy"]) / speed, work["teacher"] / speed
        total = sum(work.values()) / 1e15
        lines.append(
            f"| {student} | {teacher} | {response:,} | {gpus} | {total:,.0f} | {trained:.1f} | {scored:.1f} | "
            f"{decoding(student_shape, plan, gpus) / 60:.1f} |"
        )
    return "\n".join(lines)


def decoding(shape: Shape, plan: Plan, gpus: int) -> float:
    """Returns seconds: for each token a GPU reads the weights once for all its rows, and each row's keys and values."""
    cached = 4 * shape.layers * shape.keys * plan.rows / gpus * (plan.prompt + plan.response / 2)
    return plan.response * (2 * shape.parameters + cached) / (BANDWIDTH * READS)


if __name__ == "__main__":
    print(memory_table(), engine_table(), time_table(), sep="\n\n")
