"""Runs the default experiment on the device, once to its end and once killed and resumed, and times a step."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import Record, Setting
from tgpo.config.compose import request_from
from tgpo.runs.resume import Start, pick
from tgpo.training.run import train

ROOT = Path(__file__).parents[2]


def measure(setting: Setting, record: Record) -> None:
    """Records a complete run, and one beside it that is killed half-way and resumed; both share the device."""
    steps = setting.pick(40, 4)
    options = [f"train.steps={steps}", f"train.device={setting.device.type}"]
    if setting.toy:
        options += ["rollout.prompts_per_batch=4", "task.eval_two_terms=4", "task.eval_more_terms=4"]
        options += ["train.checkpoint_every=1"]
    complete, killed = setting.scratch / "whole", setting.scratch / "killed"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(finished, complete, options)
        record.row(kind="killed", **kill(killed, options, at=steps // 2))
        resumed = finished(killed, options)
        record.row(kind="whole", **waiting.result())
    record.row(kind="resumed", **resumed, **distance(complete, killed))


def finished(directory: Path, options: list[str]) -> dict[str, Any]:
    started = time.perf_counter()
    subprocess.run(command(directory, options), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    accuracy = [r["eval/arithmetic/accuracy"] for r in records if r["kind"] == "eval"]
    times = ("time/step", "time/rollout", "time/teacher", "time/update")
    return {
        "seconds": time.perf_counter() - started,
        "records": len(records),
        "first accuracy": accuracy[0],
        "final accuracy": accuracy[-1],
        **{f"{name}, median": statistics.median(r[name] for r in records if name in r) for name in times},
    }


def command(directory: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gpu.default_run", str(directory), *options]


def kill(directory: Path, options: list[str], at: int) -> dict[str, Any]:
    """Starts a run and sends it SIGKILL once the record of step `at` is on disk."""
    process = subprocess.Popen(command(directory, options), cwd=ROOT, stdout=subprocess.DEVNULL)
    lines = directory / "metrics.jsonl"
    while process.poll() is None:
        if lines.is_file() and f'"step": {at}' in lines.read_text():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    left = sorted(path.name for path in (directory / "checkpoints").iterdir())
    return {"exit code": process.returncode, "checkpoints": left}


def distance(whole: Path, other: Path) -> dict[str, Any]:
    """Compares the records of two runs, except times and memory: the first difference, the largest in accuracy."""
    untimed = ("time/", "throughput/", "memory/")
    first, most, pairs = None, 0.0, 0
    for a, b in zip(*((json.loads(x) for x in (d / "metrics.jsonl").open()) for d in (whole, other)), strict=True):
        pairs += 1
        differs = [k for k in a if not k.startswith(untimed) and a[k] != b.get(k)]
        if differs and first is None:
            first = f"step {a['step']}: {differs[0]} {a[differs[0]]} {b.get(differs[0])}"
        if a["kind"] == "eval":
            most = max(most, abs(a["eval/arithmetic/accuracy"] - b["eval/arithmetic/accuracy"]))
    return {"same records": pairs, "first difference": first, "accuracy apart, most": most}


def main(directory: Path, overrides: list[str]) -> None:
    request = request_from(overrides)
    begun = (directory / "config.yaml").is_file()
    start: Start | None = pick(directory, {}, request.options.train.steps) if begun else None
    with ExitStack() as closing:
        train(request, directory, start, closing)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
