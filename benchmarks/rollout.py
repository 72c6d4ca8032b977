"""Compares response tokens per second with those of `model.generate`: `make bench`.

The two take turns with the same model, prompts, threads and number of responses. The models are the shipped student,
whose responses are of similar length, and an untrained one, whose responses end at random, at any length up to the cap.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from benchmarks.objective_cost import save_model
from benchmarks.record import format_ratio, setting, spread, write_results
from tgpo.config.compose import request_from
from tgpo.models.loading import eos_ids, load_model, load_tokenizer
from tgpo.rollout.base import Sampling, encode_prompts
from tgpo.rollout.hf import HFRollout, left_pad
from tgpo.types.problem import Problem

GROUP = 8
WARM_UP, COUNTED = 1, 5
CASES = {"shipped student, 24 × 8 × 64": ("tiny:large-gap", 24, 64), "untrained, 64 × 8 × 256": (None, 64, 256)}
Turn = Callable[[list[Problem], int], list[int]]  # from problems and a seed to the lengths of the responses


def our_turn(model: Any, tokenizer: Any, cap: int) -> Turn:
    engine = HFRollout(model, tokenizer, eos_ids(model, tokenizer))

    def turn(problems: list[Problem], seed: int) -> list[int]:
        return [len(r.response_ids) for r in engine.generate(problems, Sampling(GROUP, 1.0, cap, seed))]

    return turn


def their_turn(model: Any, tokenizer: Any, cap: int) -> Turn:
    ends = torch.tensor(eos_ids(model, tokenizer))

    def turn(problems: list[Problem], seed: int) -> list[int]:
        torch.manual_seed(seed)
        ids_BP, mask_BP = left_pad(encode_prompts(tokenizer, problems), tokenizer.pad_token_id, model.device)
        outputs = model.generate(
            ids_BP, attention_mask=mask_BP, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=cap,
            num_return_sequences=GROUP, eos_token_id=ends.tolist(), pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        ended_BT = torch.isin(outputs[:, ids_BP.shape[1] :], ends)
        first_B = torch.where(ended_BT.any(1), ended_BT.int().argmax(1) + 1, ended_BT.shape[1])
        return first_B.tolist()

    return turn


def measure(case: str, path: str, prompts: int, cap: int) -> dict[str, Any]:
    model, tokenizer = load_model(path, "float32", "cpu"), load_tokenizer(path)
    task = request_from([]).task
    turns = {"ours": our_turn(model, tokenizer, cap), "generate": their_turn(model, tokenizer, cap)}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    lengths: list[int] = []
    for k in range(1, WARM_UP + COUNTED + 1):
        problems = list(task.train_problems(0, k, prompts))
        for name, turn in turns.items():
            started = time.perf_counter()
            sampled = turn(problems, k)
            rates[name].append(sum(sampled) / (time.perf_counter() - started))
            lengths += sampled
    rates = {name: values[WARM_UP:] for name, values in rates.items()}
    ratios = [ours / generate for ours, generate in zip(rates["ours"], rates["generate"], strict=True)]
    return {
        "case": case,
        "tokens_a_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": spread(ratios),
        "length": {"mean": statistics.mean(lengths), "longest": max(lengths)},
    }


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__).parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), 128, 101, seed=0)
        rows = [measure(case, path or folder, prompts, cap) for case, (path, prompts, cap) in CASES.items()]
    record = {
        **setting(
            f"prompts x responses of each x most tokens; {COUNTED} rounds after {WARM_UP} of warm-up",
            "torch",
            "transformers",
        ),
        "rows": rows,
    }
    write_results("rollout", record, table(record))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    lines = [
        "| | mean length, longest | ours, tokens a second | `model.generate` | ours / theirs, median [min, max] |",
        "| --- " * 5 + "|",
    ]
    for row in record["rows"]:
        rates, ratio, length = row["tokens_a_second"], row["ratio"], row["length"]
        cells = [row["case"], f"{length['mean']:.0f}, {length['longest']}", f"{rates['ours']:,.0f}"]
        lines.append("| " + " | ".join([*cells, f"{rates['generate']:,.0f}", format_ratio(ratio)]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
