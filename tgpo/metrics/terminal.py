"""Shows a run's progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None: ...

    def show(self, step: int, metrics: Mapping[str, Any]) -> None: ...


def open_view(steps: int, done: int) -> View:
    console = Console()
    return LiveView(console, steps, done) if console.is_terminal else PlainView(steps)


def summary(metrics: Mapping[str, Any]) -> str:
    """Returns the five most useful numbers as text; those that were not measured are left out."""
    accuracy = next((v for k, v in metrics.items() if k.startswith("eval/") and k.endswith("/accuracy")), None)
    parts = [
        ("reward", metrics.get("reward/mean"), ".2f"),
        ("accuracy", accuracy, ".3f"),
        ("length", metrics.get("response/length_mean"), ".0f"),
        ("|grad|", metrics.get("gradient/norm"), ".2f"),
        ("KL", metrics.get("divergence/reverse_kl_k1"), ".2f"),
    ]
    return "  ".join(f"{name} {value:{form}}" for name, value, form in parts if value is not None)


class LiveView:
    """Shows a progress bar with the latest numbers and the remaining time."""

    def __init__(self, console: Console, steps: int, done: int) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task("run", total=steps, completed=done, numbers="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.progress.update(self.task, completed=step, numbers=summary(metrics))


class PlainView:
    """Prints a line at the first step, at the last, and about twenty times in between."""

    def __init__(self, steps: int) -> None:
        self.steps, self.every = steps, max(1, steps // 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, flush=True)

    def show(self, step: int, metrics: Mapping[str, Any]) -> None:
        if step in (1, self.steps) or step % self.every == 0:
            print(f"step {step}/{self.steps}  {summary(metrics)}", flush=True)
