"""Files that an evaluation writes: for each benchmark a JSON file and the responses, and one table."""

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
    """Returns the record of one benchmark: its metrics without their prefix, and a bootstrap interval for each mean.

    `public` is False for the held-out problems of the task itself.
    """
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
    """Returns a hash of all prompts and answers, so that another version of a dataset counts as another benchmark."""
    contents = [[p.prompt, p.system, p.answer] for p in problems]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


def save(folder: Path, result: Result, evaluation: Evaluation) -> None:
    """Writes the responses, then the result, so that a result that exists is complete."""
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
    """Returns the stored result and "" if it has the same recipe; else None and the first key that differs.

    The key is empty when there is no stored result.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return None, ""
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored_recipe, wanted = stored.get("recipe", {}), json.loads(json.dumps(recipe))
    changed = [key for key in wanted if stored_recipe.get(key) != wanted[key]]
    return (None, changed[0]) if changed else (stored, "")


def table(results: Sequence[Result], form: str) -> str:
    """Returns a table with one row per benchmark and, for several public ones, their unweighted mean accuracy.

    `form` is a table format of tabulate.
    """
    from tabulate import tabulate

    at = sorted({k for result in results for key in result["metrics"] if (k := pass_at(key)) > 1})
    headers = ["benchmark", "problems", "samples", "accuracy", *(f"pass@{k}" for k in at), "length", "truncated"]
    rows = []
    for result in results:
        metrics, intervals = result["metrics"], result["intervals"]
        chances = [format_accuracy(metrics.get(f"pass@{k}")) for k in at]
        accuracy = format_accuracy(metrics["accuracy"], intervals["accuracy"])
        length, cut = f"{metrics['length_mean']:.0f}", f"{metrics['truncated_fraction']:.2f}"
        rows.append([result["name"], result["problems"], result["samples"], accuracy, *chances, length, cut])
    public = [result["metrics"]["accuracy"] for result in results if result["public"]]
    if len(public) > 1:
        rows.append(["mean", "", "", format_accuracy(sum(public) / len(public)), *[""] * len(at), "", ""])
    return tabulate(rows, headers, tablefmt=form, disable_numparse=True)


def pass_at(key: str) -> int:
    """Returns the k of `pass@k`, or 0 for another metric."""
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
    record = {"checkpoint": checkpoint, "benchmarks": list(results), "provenance": dict(provenance)}
    write_whole(folder / "evaluation.json", json.dumps(record, indent=1) + "\n")
