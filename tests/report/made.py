"""Run directories made by hand, as a sweep leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

METRICS = ("reward/mean", "response/length_mean", "response/truncated_fraction", "gradient/norm", "gradient/variance",
           "gradient/snr", "divergence/reverse_kl_k1", "time/step")  # fmt: skip


def make_run(
    folder: Path, objective: str = "tgpo", seed: int = 0, final: float = 0.5, *, steps: int = 4, started: float = 1.0,
    status: str = "done", reason: str | None = None, task: str = "arithmetic", student: str = "large-gap",
    gap: float = 1.0, overrides: tuple[str, ...] = (), more: dict[str, Any] | None = None, name: str | None = None,
    tasks: tuple[str, ...] = (),
) -> Path:  # fmt: skip
    """A run whose accuracy rises from 0.25 to `final`; `more` are options by dotted name."""
    run = folder / (name or f"{objective}_{seed}")
    run.mkdir(parents=True)
    config: dict[str, Any] = {
        "name": "made", "seed": seed, "output_dir": str(run), "choices": {"objective": objective, "student": student},
        "objective": {"_target_": f"tgpo.objectives.{objective}.X", "weight": 0.5},
        "student": {"name": student, "path": f"tiny:{student}"}, "teacher": {"name": "tiny", "path": "tiny:teacher"},
        "task": {"_target_": f"tgpo.tasks.{task}.X"},
        "rollout": {"prompts_per_batch": 4, "group_size": 8, "max_response_length": 96},
        "train": {"steps": steps, "threads": None},
        "overrides": [f"objective={objective}", f"seed={seed}", *overrides],
    }  # fmt: skip
    for key, value in (more or {}).items():
        section, option = key.split(".")
        config[section][option] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "provenance.json").write_text(json.dumps({"command": ["run.py", "-m", "x"], "versions": {}, "git": None}))
    state = {"status": status, "step": steps, "reason": reason, "timings": {"started": started, "seconds": 1.0}}
    (run / "status.json").write_text(json.dumps(state))
    lines = []
    for k in range(steps + 1):
        value = 0.25 + (final - 0.25) * k / steps
        found = {f"eval/{t}/accuracy": value for t in (task, *tasks)}
        lines.append({"kind": "eval", "step": k, **found})
        if k:
            lines.append({"kind": "train", "step": k, **dict.fromkeys(METRICS, 0.5 + 0.1 * k + 0.01 * seed)})
            lines[-1] |= {"divergence/reverse_kl_k1": gap, "response/length_mean": 30.0 + k + seed}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def make_sweep(folder: Path, seeds: int = 4) -> Path:
    """`grpo` ends near 0.9, `rkl` 0.3 below it, `tgpo` level with it."""
    for seed in range(seeds):
        make_run(folder, "grpo", seed, 0.90 + 0.01 * seed)
        make_run(folder, "rkl", seed, 0.60 + 0.01 * seed + 0.004 * (seed % 2))
        make_run(folder, "tgpo", seed, 0.90 + 0.01 * (seed % 2))
    return folder
