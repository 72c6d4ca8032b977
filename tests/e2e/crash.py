"""`python -m tests.e2e.crash [--kills 50] [--seed 0]`: runs that are killed at random moments, resumed, killed again.

What they write in the end is what a run writes that nobody disturbed: the same metrics but for times, throughput and
memory, the same rollouts, the same bytes in the last checkpoint. The test suite kills five times, by the same code.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tabulate import tabulate

from tests import forked
from tests.conftest import records, untimed
from tgpo.runs import checksums
from tgpo.runs.directory import complete
from tgpo.runs.files import read_json
from tgpo.runs.jsonl import read_records

VARIANTS = {
    "tgpo": ["objective=tgpo"],
    "luffy": ["objective=luffy"],
    "tgpo adaptive": ["objective=tgpo", "objective.weighting=adaptive", "objective.mismatch_budget=0.2"],
}
EVAL_EVERY = 3
# one thread: how many there are decides the order of sums
OPTIONS = [
    "train.checkpoint_every=2", f"eval.every={EVAL_EVERY}", "rollout.prompts_per_batch=4", "rollout.group_size=4",
    "task.eval_two_terms=8", "task.eval_more_terms=8", "train.threads=1", "metrics.rollout_samples_every=1",
]  # fmt: skip
STEPS = ("rollout", "update", "evaluation", "checkpoint")
PHASES = (
    "start-up",
    "demonstrations",
    "loading",
    "base evaluation",
    *STEPS,
    "report",
)  # in the order a run comes by them
LOOK_SECONDS = 0.002
CHECKPOINT_SECONDS = 0.06  # of a model of 3 MB
LOADING_SECONDS = 0.5
DEMONSTRATIONS_SECONDS = 1.0
REPORT_SECONDS = 1.0
PATIENCE = 300.0


@dataclass
class Paces:
    """How long the phases of a run take, read off one that nobody disturbed: random delays are drawn from them."""

    seconds: dict[str, float]

    @classmethod
    def of(cls, run: Path, loading: float) -> Paces:
        train, evaluation = records(run, "train"), records(run, "eval")
        rollout, step, exam = (
            median(r[name] for r in found)
            for name, found in (("time/rollout", train), ("time/step", train), ("time/eval", evaluation))
        )
        spans = {"start-up": loading, "base evaluation": exam, "evaluation": exam, "rollout": rollout}
        spans |= {"update": step - rollout, "checkpoint": CHECKPOINT_SECONDS, "report": REPORT_SECONDS}
        return cls(spans | {"loading": LOADING_SECONDS, "demonstrations": DEMONSTRATIONS_SECONDS})


class Attempt(NamedTuple):
    """`hit` is the phase the run was in when the signal came, None where it ended before; `told` what it said of it."""

    code: int
    hit: str | None
    told: str


class Watched:
    """A run's folder, as one attempt at it left it: what is older is of earlier attempts."""

    def __init__(self, run: Path) -> None:
        self.run, self.since = run, time.time() - 0.01  # the file system's clock is coarser

    def fresh(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime > self.since
        except FileNotFoundError:
            return False

    def status(self) -> dict[str, Any]:
        path = self.run / "status.json"
        return read_json(path) if self.fresh(path) else {}

    def phase(self) -> str:
        """Where the run is, as far as its files tell."""
        status = self.status()
        if not status:
            return "start-up"
        if status["status"] == "done":
            return "report"
        if any(self.fresh(path) for path in (self.run / "checkpoints").glob(".step-*")):
            return "checkpoint"
        if not self.fresh(self.run / "metrics.jsonl"):
            told = self.run / "demonstrations"
            return "demonstrations" if told.is_dir() and not list(told.glob("part-*.parquet")) else "loading"
        lines = read_records(self.run / "metrics.jsonl")
        if not lines:
            return "base evaluation"
        last = lines[-1]
        if last["kind"] == "train" and last["step"] % EVAL_EVERY == 0:
            return "evaluation"
        marks = [self.run / "status.json", self.run / "metrics.jsonl", self.run / "checkpoints"]
        began = max(path.stat().st_mtime for path in marks if path.exists())
        rollouts = [line["time/rollout"] for line in lines if line["kind"] == "train"]
        return "rollout" if not rollouts or time.time() - began < rollouts[-1] else "update"


def attempt(
    run: Path,
    options: Sequence[str],
    aim: str | None = None,
    delay: float = 0.0,
    signals: Sequence[int] = (signal.SIGKILL,),
) -> Attempt:
    """Starts or resumes the run, sends it the signals `delay` seconds after the phase `aim` began; awaits its end."""
    again = (run / "config.yaml").is_file()
    arguments = [f"resume={run}"] if again else [*options, f"output_dir={run}"]
    watched, hit = Watched(run), None
    process = forked.start(*arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + PATIENCE
    try:
        while aim is not None and process.poll() is None and aim not in ("start-up", watched.phase()):
            assert time.monotonic() < end, f"it never came to {aim}"
            time.sleep(LOOK_SECONDS)
        time.sleep(delay)
        if aim is not None and process.poll() is None:
            hit = watched.phase()
            for number in signals:
                process.send_signal(number)
                time.sleep(0.25 if len(signals) > 1 else 0)  # two at once would be one
        code, (_, text) = process.wait(PATIENCE), process.communicate()
    finally:
        process.kill()
    assert hit is not None or code == 0, text
    return Attempt(code, hit, text)


def check_whole(run: Path) -> None:
    """What a kill leaves under its own name is whole, at any moment."""
    for name in ("status.json", "provenance.json"):
        read_json(run / name)
    for path in complete(run / "checkpoints"):
        problem = checksums.damage(path)
        assert problem is None, f"{path}: {problem}"


def check_same(run: Path, whole: Path, steps: int) -> None:
    """The run that was killed against the one that was not."""
    assert [r["step"] for r in records(run, "train")] == [*range(1, steps + 1)]
    assert [r["step"] for r in records(run, "eval")] == [*range(0, steps + 1, EVAL_EVERY)]
    assert untimed(run) == untimed(whole)
    assert (run / "rollouts.jsonl").read_bytes() == (whole / "rollouts.jsonl").read_bytes()
    assert read_json(run / "status.json")["status"] == "done"
    assert (run / "report" / "report.html").is_file()
    check_whole(run)
    # it has the SHA-256 of all other files: weights, optimiser, controller
    last = f"checkpoints/step-{steps}/{checksums.NAME}"
    assert (run / last).read_bytes() == (whole / last).read_bytes()


def undisturbed(run: Path, options: Sequence[str]) -> Paces:
    began = time.time()
    assert attempt(run, options).code == 0
    return Paces.of(run, (run / "config.yaml").stat().st_mtime - began)


def next_aim(run: Path, options: Sequence[str], steps: int, tried: Counter[str], rng: random.Random) -> str:
    """Of the phases that lie before the run the one that was aimed at least; first those a run comes by once."""
    step = max((r["step"] for r in read_records(run / "metrics.jsonl")), default=-1)
    once = ["base evaluation", *(["demonstrations"] if "objective=luffy" in options else [])] if step < 1 else []
    once += ["report"] if step >= steps - 2 else []
    before = ["start-up", "loading", *STEPS, *once]
    rng.shuffle(before)
    return min(before, key=lambda phase: tried[phase] - (phase in once))


def torment(
    folder: Path, options: Sequence[str], kills: int, seed: int, steps: int = 6, aims: Sequence[str] = ()
) -> Counter[str]:
    """Kills runs in `folder` so many times; whenever one comes to its end it is compared, and another is begun.

    `aims` are the phases to hit, in this order; without them each as often as the others. Returns what was hit.
    """
    options = [*OPTIONS, *options, f"train.steps={steps}"]
    whole, rng = folder / "whole", random.Random(seed)
    paces = undisturbed(whole, options)
    hits, tried, number, left = Counter[str](), Counter[str](), 0, list(aims)
    while True:
        run = folder / f"killed-{number}"
        killing = sum(hits.values()) < kills
        aim = (left[0] if left else next_aim(run, options, steps, tried, rng)) if killing else None
        delay = rng.uniform(0, paces.seconds[aim]) if aim is not None else 0.0
        hit = attempt(run, options, aim, delay).hit
        if aim is not None:
            tried[aim] += 1
        if hit is not None:
            hits[hit] += 1
            left = left[1:]
            check_whole(run)
            continue
        check_same(run, whole, steps)
        if not killing or sum(hits.values()) == kills:
            return hits
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.crash", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--kills", type=int, default=50, help="over all three objectives (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    arguments = parser.parse_args()
    rows, began = [], time.monotonic()
    for index, (name, options) in enumerate(VARIANTS.items()):
        share = arguments.kills * (index + 1) // len(VARIANTS) - arguments.kills * index // len(VARIANTS)
        with tempfile.TemporaryDirectory() as folder:
            hits = torment(Path(folder), options, share, arguments.seed + index)
        rows.append([name, *(hits[phase] for phase in PHASES), sum(hits.values())])
        print(f"{name}: {share} kills, and what it wrote is what it writes without them", flush=True)
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, len(PHASES) + 2))])
    print(f"\n{tabulate(rows, ['killed during', *PHASES, 'kills'])}\n\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
