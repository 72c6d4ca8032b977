"""Measures where the time of the default experiment goes: `make bench`.

It is one complete run with `train.profile=true`, without the steps that the profiler traced. The parts that only
observe (logging, metrics, gradient variance, checkpointing) are required to take less than a twentieth of a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import HERE, setting, write_results

OBSERVING = ("logging", "metrics", "gradient_variance", "checkpointing")
ALLOWED = 0.05


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.step_parts", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run.py", "train.profile=true", f"output_dir={folder}"]
        subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
        measured = json.loads((Path(folder) / "profile" / "time.json").read_text())
    record = {**setting("python run.py train.profile=true", "torch", "transformers"), **measured}
    write_results("step_parts", record, table(record))


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    parts = record["parts"]
    observing = sum(parts[name] for name in OBSERVING)
    rows = [(name.replace("_", " "), parts[name], "") for name in sorted(parts, key=parts.__getitem__, reverse=True)]
    rows.append(("all that only observes", observing, f" (under {ALLOWED:.0%} asked for)"))
    lines = ["| | milliseconds a step | share |", "| --- " * 3 + "|"]
    for name, seconds, note in rows:
        share = seconds / record["seconds"]
        lines.append(f"| {name} | {1000 * seconds / record['steps']:.1f} | {share:.1%}{note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
