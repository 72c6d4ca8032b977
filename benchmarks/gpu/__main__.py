"""`python -m benchmarks.gpu [--rehearse] [--out FOLDER] [PHASE ...]` runs each phase in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.phases import PHASES, Phase

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"of {', '.join(PHASES)}: all by default")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU at toy sizes, into a folder of its own")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: benchmarks/results)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.phases if name not in PHASES]:
        parser.error(f"{unknown[0]}: no such phase; there are {', '.join(PHASES)}")
    if arguments.child:
        measure(arguments.child, arguments.rehearse, arguments.out)
        return
    if not arguments.rehearse and not has_gpu():
        parser.error("no GPU is seen by torch; --rehearse runs the same code on a CPU")
    out = arguments.out or (Path(tempfile.mkdtemp()) if arguments.rehearse else ROOT / "benchmarks" / "results")
    out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in arguments.phases or PHASES if not run(PHASES[name], arguments.rehearse, out)]
    if not arguments.rehearse:
        from benchmarks.gpu.table import write_table

        write_table(out)
    print(f"results  {out}" + (f"   failed: {', '.join(failed)}" if failed else ""))
    sys.exit(1 if failed else 0)


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run(phase: Phase, rehearse: bool, out: Path) -> bool:
    """Runs a phase to its end or its time limit and records how it failed, if so. Returns whether it succeeded."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", phase.name, "--out", str(out)]
    started = time.monotonic()
    print(f"== {phase.name}: {phase.what}", flush=True)
    process = subprocess.Popen(
        [*command, *(["--rehearse"] if rehearse else [])],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=phase.seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        errors += f"stopped at its limit of {phase.seconds} s"
    seconds = time.monotonic() - started
    done = process.returncode == 0
    if not done:
        print(errors[-3000:], flush=True)
    conclude(out / f"gpu-{phase.name}.json", phase.name, seconds, None if done else last_line(errors))
    print(f"== {phase.name}: {'done' if done else 'FAILED'} in {seconds:.0f} s", flush=True)
    return done


def conclude(path: Path, name: str, seconds: float, failed: str | None) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {"phase": name, "rows": []}
    content |= {"seconds": round(seconds, 1), **({"failed": failed} if failed else {})}
    path.write_text(json.dumps(content, indent=1) + "\n")


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def measure(name: str, rehearse: bool, out: Path) -> None:
    """Measures a phase in this process, which is the phase's own."""
    import torch

    from benchmarks.gpu.setting import Record, Setting

    device = torch.device("cpu" if rehearse else "cuda")
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting(device, rehearse, out, Path(scratch))
        importlib.import_module(f"benchmarks.gpu.{name}").measure(setting, Record(setting, name))


if __name__ == "__main__":
    main()
