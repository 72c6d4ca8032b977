"""Seconds before a run begins to load a model: `make bench`.

Each round starts fresh processes in turn: two bare imports, which show how busy the machine is, then `run.py --help`,
and a request composed, checked and put through preflight. What counts is the median, and its ratio to `import torch`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record import machine, write_results

CHECKED = "from tgpo.command import request_from; r = request_from[]; from tgpo.preflight import preflight; preflightr"
ROOT = Path(__file__).parents[1]
COMMANDS = {
    "`import torch`": ["-c", "import torch"],
    "`import hydra`": ["-c", "import hydra"],
    "`run.py --help`": ["run.py", "--help"],
    "compose, check and preflight": ["-c", CHECKED],
}
LIMITS = {"`run.py --help`": 1.0, "compose, check and preflight": 3.0}  # seconds promised, on an idle machine
ROUNDS = 7


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    for arguments in COMMANDS.values():
        seconds(arguments)  # fills the file cache
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    rows = [row(name, taken) for name in COMMANDS]
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
        "over_import_torch": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def table(record: dict[str, Any]) -> str:
    """The README's rows, from the JSON."""
    lines = ["| | seconds, median | fastest | promised | / `import torch`, median [min, max] |", "| --- " * 5 + "|"]
    for row in record["rows"]:
        ratio, promised = row["over_import_torch"], row["promised"]
        spread = f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]"
        limit = f"under {promised:.0f}" if promised else ""
        lines.append(f"| {row['what']} | {row['seconds']:.2f} | {row['fastest']:.2f} | {limit} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
