"""Measures the seconds before a run does anything: `make bench`.

Each round starts fresh processes in turn: two bare imports, which show how busy the machine is, then `run.py --help`,
the composition, checks and preflight of a request, and the default run until its first optimiser step is on disk
(models loaded, the untrained student evaluated, a batch rolled out, scored and trained on). The results are the median
and its ratio to `import torch`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import format_ratio, machine, spread, write_results

CHECKED = (
    "from tgpo.config.compose import request_from as of; from tgpo.preflight.checks import preflight; preflight(of([]))"
)
ROOT = Path(__file__).parents[1]
COMMANDS = {
    "`import torch`": ["-c", "import torch"],
    "`import hydra`": ["-c", "import hydra"],
    "`run.py --help`": ["run.py", "--help"],
    "compose, check and preflight": ["-c", CHECKED],
}
FIRST_STEP = "`run.py`, to its first optimiser step"
LIMITS = {"`run.py --help`": 1.0, "compose, check and preflight": 3.0, FIRST_STEP: 8.0}  # promised for an idle machine
ROUNDS = 7


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step() -> float:
    """Returns the seconds until the record of step 1 is in the run's metrics; then kills the run."""
    with tempfile.TemporaryDirectory() as folder:
        metrics, started = Path(folder) / "metrics.jsonl", time.perf_counter()
        run = subprocess.Popen([sys.executable, "run.py", f"output_dir={folder}"], cwd=ROOT, stdout=subprocess.DEVNULL)
        while not (metrics.is_file() and '"kind": "train"' in metrics.read_text()):
            if run.poll() is not None:
                raise RuntimeError("the run ended before its first step")
            time.sleep(0.01)
        taken = time.perf_counter() - started
        run.kill()
        run.wait()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    for arguments in COMMANDS.values():
        seconds(arguments)  # fills the file cache
    taken: dict[str, list[float]] = {name: [] for name in [*COMMANDS, FIRST_STEP]}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
        taken[FIRST_STEP].append(first_step())
    rows = [row(name, taken) for name in taken]
    record = {"work": f"{rounds} rounds of fresh processes, in turn", "machine": machine(), "rows": rows}
    write_results("start_up", record, table(record))


def row(name: str, taken: dict[str, list[float]]) -> dict[str, Any]:
    bare = taken["`import torch`"]
    ratios = [own / torch for own, torch in zip(taken[name], bare, strict=True)]
    return {
        "what": name,
        "seconds": statistics.median(taken[name]),
        "fastest": min(taken[name]),
        "promised": LIMITS.get(name),
        "over_import_torch": spread(ratios),
    }


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    lines = ["| | seconds, median | fastest | promised | / `import torch`, median [min, max] |", "| --- " * 5 + "|"]
    for row in record["rows"]:
        ratio, promised = row["over_import_torch"], row["promised"]
        limit = f"under {promised:.0f}" if promised else ""
        lines.append(
            f"| {row['what']} | {row['seconds']:.2f} | {row['fastest']:.2f} | {limit} | {format_ratio(ratio)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
