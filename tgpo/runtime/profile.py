"""Measures where a run's time goes: named spans, reported per step, in a table over the run, and in torch's trace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch.profiler import profile, record_function, schedule

from tgpo.runs.files import write_whole

FIRST_TRACED, TRACED = 4, 3  # counted in steps of this process; the profiler warms up in the step before
Seconds = dict[str, float]


@contextmanager
def timed(seconds: Seconds, name: str) -> Iterator[None]:
    """Adds the duration of the block to `seconds[name]`; in a trace the block is the range `tgpo.NAME`."""
    started = time.perf_counter()
    with record_function(f"tgpo.{name}"):
        yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


class Steps(Protocol):
    """Called at the end of each step, after its files are written.

    `record` is the step's record of metrics; `spent` has the seconds of further parts that are not in it.
    """

    def __call__(self, record: Mapping[str, float | str], spent: Seconds) -> None: ...


@contextmanager
def profiled(folder: Path | None) -> Iterator[Steps]:
    """Writes `trace.json.gz` of a few steps, for Perfetto, and the table `time.json` and `time.md`.

    The table covers only the other steps, because tracing slows a step down. Without a folder nothing is measured.
    """
    if folder is None:
        yield lambda record, spent: None
        return
    folder.mkdir(parents=True, exist_ok=True)
    table = Table()
    plan = schedule(wait=FIRST_TRACED - 2, warmup=1, active=TRACED, repeat=1)
    trace = profile(schedule=plan, on_trace_ready=lambda p: p.export_chrome_trace(str(folder / "trace.json.gz")))

    def step(record: Mapping[str, float | str], spent: Seconds) -> None:
        table.add(record, spent)
        trace.step()  # writes the trace after the last traced step
        table.begin()

    try:
        with trace:
            yield step
    finally:
        if table.steps:  # also for a run that was interrupted
            write_whole(folder / "time.json", json.dumps(table.record(), indent=1) + "\n")
            write_whole(folder / "time.md", "\n".join(table.lines()) + "\n")


class Table:
    """Sums the seconds of each part of a step. Parts do not overlap; `idle` is wall-clock time that is in no part."""

    def __init__(self) -> None:
        self.seen = self.steps = 0
        self.wall, self.seconds = 0.0, Seconds()
        self.begin()

    def begin(self) -> None:
        self.began = time.perf_counter()

    def add(self, record: Mapping[str, float | str], spent: Seconds) -> None:
        wall = time.perf_counter() - self.began
        self.seen += 1
        if FIRST_TRACED - 1 <= self.seen < FIRST_TRACED + TRACED:
            return
        parts = {name.removeprefix("time/"): float(v) for name, v in record.items() if name.startswith("time/")}
        del parts["step"]
        if "update" in parts:  # a step without demonstrations to imitate has no update
            parts["update"] -= parts.get("gradient_variance", 0.0)  # measured as a part of the update
        parts |= spent
        for name, seconds in (parts | {"idle": wall - sum(parts.values())}).items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.steps, self.wall = self.steps + 1, self.wall + wall

    def record(self) -> dict[str, object]:
        return {"steps": self.steps, "seconds": self.wall, "parts": self.seconds}

    def lines(self) -> Iterator[str]:
        yield f"{self.steps} steps in {self.wall:.1f} s, without the {self.seen - self.steps} that were traced\n"
        yield "| part | seconds a step | share |\n| --- | ---: | ---: |"
        for name, seconds in sorted(self.seconds.items(), key=lambda part: -part[1]):
            yield f"| {name.replace('_', ' ')} | {seconds / max(self.steps, 1):.4f} | {seconds / self.wall:.1%} |"
