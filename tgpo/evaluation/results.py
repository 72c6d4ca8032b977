"""What an evaluation leaves behind: a JSON file and the responses of each benchmark, and one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tgpo.evaluation.accuracy import Evaluation
from tgpo.evaluation.intervals import LEVEL, mean_interval
from tgpo.runs.files import write_whole
from tgpo.types.problem import Problem

Result = dict[str, Any]


def result(
    name: str, public: bool, evaluation: Evaluation, samples: int, seed: int, recipe: Mapping[str, Any]
) -> Result:
    """`metrics` without the benchmark's prefix, each mean with its interval by problem; `public` unless the task's."""
    prefix = f"eval/{name}/"
    return {
        "name": name,
        "public": public,
        "problems": len(evaluation.by_problem["accuracy"]),
        "samples": samples,
        "metrics": {key.removeprefix(prefix): value for key, value in evaluation.metrics.items()},
        "intervals": {key: mean_interval(values, seed) for key, values in evaluation.by_problem.items()},
        "verifier_timeouts": evaluation.timeouts,
        "recipe": dict(recipe),
    }


def fingerprint(problems: Sequence[Problem]) -> str:
    """Of everything that is asked, and of the answers: another version of a dataset is another benchmark."""
    asked = [[p.prompt, p.system, p.answer] for p in problems]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def save(folder: Path, result: Result, evaluation: Evaluation) -> None:
    """The responses first: a result that is there is whole."""
    lines = [
        {
            "problem": rollout.problem.id,
            "prompt": rollout.problem.prompt,
            "answer": rollout.problem.answer,
            "response": response,
            "reward": reward,
            "length": len(rollout.response_ids),
            "finish_reason": rollout.finish_reason,
        }
        for rollout, response, reward in zip(evaluation.rollouts, evaluation.responses, evaluation.rewards, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_whole(folder / f"{result['name']}.jsonl", text)
    write_whole(folder / f"{result['name']}.json", json.dumps(result, indent=1) + "\n")


def saved(folder: Path, name: str, recipe: Mapping[str, Any]) -> tuple[Result | None, str]:
    """The result that is there, if it was made in the same way; else None and what is different."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None, ""
    found = json.loads(path.read_text(encoding="utf-8"))
    there, wanted = found.get("recipe", {}), json.loads(json.dumps(recipe))
    changed = [key for key in wanted if there.get(key) != wanted[key]]
    return (None, changed[0]) if changed else (found, "")


def table(results: Sequence[Result], form: str) -> str:
    """A row a benchmark and, of several public ones, their plain mean. `form` is one of tabulate's."""
    from tabulate import tabulate

    at = sorted({k for found in results for key in found["metrics"] if (k := pass_at(key)) > 1})
    headers = ["benchmark", "problems", "samples", "accuracy", *(f"pass@{k}" for k in at), "length", "truncated"]
    rows = []
    for found in results:
        metrics, intervals = found["metrics"], found["intervals"]
        chances = [format_accuracy(metrics.get(f"pass@{k}")) for k in at]
        accuracy = format_accuracy(metrics["accuracy"], intervals["accuracy"])
        length, cut = f"{metrics['length_mean']:.0f}", f"{metrics['truncated_fraction']:.2f}"
        rows.append([found["name"], found["problems"], found["samples"], accuracy, *chances, length, cut])
    public = [found["metrics"]["accuracy"] for found in results if found["public"]]
    if len(public) > 1:
        rows.append(["mean", "", "", format_accuracy(sum(public) / len(public)), *[""] * len(at), "", ""])
    return tabulate(rows, headers, tablefmt=form, disable_numparse=True)


def pass_at(key: str) -> int:
    return int(key.removeprefix("pass@")) if key.startswith("pass@") else 0


def format_accuracy(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def save_table(folder: Path, checkpoint: str, results: Sequence[Result], provenance: Mapping[str, Any]) -> None:
    note = (
        f"Checkpoint `{checkpoint}`. Accuracy is the mean over all samples (avg@n), in brackets its {LEVEL:.0%} "
        "bootstrap interval over problems; pass@k is the unbiased estimate, its intervals are in evaluation.json."
    )
    write_whole(folder / "table.md", f"{table(results, 'github')}\n\n{note}\n")
    whole = {"checkpoint": checkpoint, "benchmarks": list(results), "provenance": dict(provenance)}
    write_whole(folder / "evaluation.json", json.dumps(whole, indent=1) + "\n")
