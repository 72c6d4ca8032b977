"""Compares `rollout=vllm` with bare `LLM.generate`, and times a weight sync: `make bench`, where vLLM is installed.

The bare engine is that of our rollouts, called with the same prompts and sampling parameters, and its outputs are not
processed; the two take turns. Sync is timed at the shipped size and at 135M parameters (SmolLM2's shape, random
weights).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from benchmarks.record import format_ratio, machine, spread, write_results
from tgpo.config.compose import request_from
from tgpo.models.loading import load_tokenizer
from tgpo.models.vllm import installed_version
from tgpo.rollout.base import Sampling, encode_prompts
from tgpo.training.components import build_components
from tgpo.training.trainer import Trainer
from tgpo.types.problem import Problem

PROMPTS, GROUP, CAP = 16, 8, 96  # as in the default experiment
WARM_UP, COUNTED = 2, 10


def tokens_a_second(rollout: Any, problems: Sequence[Problem]) -> dict[str, Any]:
    """Returns tokens per second of ours and of the bare engine, and the ratios of pairs, ours over bare."""
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]

    ours: list[float] = []
    bare: list[float] = []
    for turn in range(WARM_UP + COUNTED):
        sampling = Sampling(GROUP, 1.0, CAP, turn)
        started = time.perf_counter()
        rollouts = rollout.generate(problems, sampling)
        ours.append(sum(len(r.response_ids) for r in rollouts) / (time.perf_counter() - started))
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in encode_prompts(rollout.tokenizer, problems)]
        parameters = SamplingParams(
            n=GROUP, temperature=1.0, max_tokens=CAP, seed=turn, logprobs=0, stop_token_ids=rollout.eos_ids,
            detokenize=False,
        )  # fmt: skip
        started = time.perf_counter()
        answers = rollout.engine.generate(inputs, parameters, use_tqdm=False)
        seconds = time.perf_counter() - started
        bare.append(sum(len(output.token_ids) for answer in answers for output in answer.outputs) / seconds)
    ratios = [o / b for o, b in zip(ours, bare, strict=True)][WARM_UP:]
    return {
        "ours": statistics.median(ours[WARM_UP:]),
        "bare": statistics.median(bare[WARM_UP:]),
        "ours_over_bare": spread(ratios),
    }


def sync_and_step(trainer: Trainer) -> dict[str, float]:
    """Returns the median seconds of a weight sync and of a complete step."""
    seconds, rollout = [], trainer.collector.rollout
    for turn in range(5):
        started = time.perf_counter()
        rollout.sync(turn)
        seconds.append(time.perf_counter() - started)
    steps = [float(trainer.step(k)[0]["time/step"]) for k in (1, 2, 3)]
    return {"seconds": statistics.median(seconds[1:]), "step": statistics.median(steps)}


def save_135m(folder: Path) -> None:
    """Saves a model of SmolLM2-135M's shape with random weights, and the tiny tokenizer."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    load_tokenizer("tiny:teacher").save_pretrained(folder)


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.vllm_rollout", description=__doc__).parse_args()
    logging.disable_progress_bar()
    quiet = ["rollout=vllm", "metrics.gradient_variance_every=0", "metrics.divergence_every=0"]
    request = request_from(quiet)
    tiny = build_components(request, None).trainer
    rates = tokens_a_second(tiny.engine.rollout, request.task.train_problems(0, 1, PROMPTS))
    with tempfile.TemporaryDirectory() as folder:
        save_135m(Path(folder))
        few = ["rollout.prompts_per_batch=2", "rollout.group_size=4", "rollout.max_response_length=32"]
        alone = ["objective=grpo", "teacher=none", f"student.path={folder}"]
        larger = build_components(request_from([*quiet, *few, *alone]), None).trainer
        sync = {
            "0.8M": {**sync_and_step(tiny), "of": "the default experiment"},
            "135M": {**sync_and_step(larger), "of": "`grpo` on 2 prompts × 4 responses × at most 32 tokens"},
        }
    record = {
        "work": f"{PROMPTS} prompts x {GROUP} samples x at most {CAP} tokens, {COUNTED} pairs after {WARM_UP}",
        "machine": machine(),
        "versions": {"vllm": installed_version(), "torch": metadata.version("torch")},
        "tokens_a_second": rates,
        "sync": sync,
    }
    write_results("vllm_rollout", record, table(record))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    rates, sync = record["tokens_a_second"], record["sync"]
    ratio = rates["ours_over_bare"]
    lines = [
        "| response tokens a second | bare `LLM.generate` | ours / bare, median [min, max] |", "| --- " * 3 + "|",
        f"| {rates['ours']:,.0f} | {rates['bare']:,.0f} | {format_ratio(ratio)} |", "",
        "| sync, at | seconds | of a step | of |", "| --- " * 4 + "|",
    ]  # fmt: skip
    for size, row in sync.items():
        lines.append(f"| {size} parameters | {row['seconds']:.3f} | {row['seconds'] / row['step']:.1%} | {row['of']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
