"""Displays progress: bars on a terminal, one line for each stage elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tgpo.divergence.measure import ReportProgress


@contextmanager
def progress(console: Console) -> Iterator[ReportProgress]:
    if not console.is_terminal:
        yield say
        return
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as bars:
        stages = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done)

        yield advance


def say(stage: str, done: int, total: int) -> None:
    if done == total:
        print(f"{stage}: {total}", flush=True)
