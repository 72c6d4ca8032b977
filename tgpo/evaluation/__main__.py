"""`python -m tgpo.evaluation checkpoint=PATH [eval=math] [output=FOLDER] [key=value ...]`: the options of `run.py`.

Evaluates a checkpoint on the held-out problems of its task (the default; a run's checkpoint with the run's own task and
sampling), on public benchmarks (eval=math, eval=ood), or on both (eval.held_out=true). PATH is a run directory, one of
its checkpoints/step-N, tiny:NAME, a model's folder, or a hub model in the local cache. Finished benchmarks are kept:
after a kill the same command continues with the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tgpo.errors import exit_on_error
from tgpo.evaluation.examine import ReportProgress, plan, run_eval_sets
from tgpo.evaluation.request import request_of
from tgpo.evaluation.results import save_table, table
from tgpo.runs.files import make_folder


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    with exit_on_error("interrupted; the same command goes on with what is not done"):
        request, located, output = request_of(sys.argv[1:])
        for problem in located.skipped:
            print(f"{problem}; taking {Path(located.model).parent.name}", file=sys.stderr)
        ready = plan(request)
        make_folder(output, "output")
        print(f"checkpoint   {located.model}\ntask         {request.task.name}", flush=True)
        with Counter() as counter:
            results = run_eval_sets(ready, output, counter.tell, counter.say)

        from tgpo.runs.provenance import provenance

        save_table(output, located.given, results, provenance(request.resolved))
        print(f"\n{table(results, 'simple')}\n\nresults      {output}/table.md")


class Counter:
    """Shows how many problems are done: a progress bar on a terminal, elsewhere about ten lines per evaluation set."""

    def __init__(self) -> None:
        console = Console()
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console) if console.is_terminal else None
        self.bars: dict[str, object] = {}
        self.tenths: dict[str, int] = {}
        self.tell: ReportProgress = self._line if self.progress is None else self._bar

    def __enter__(self) -> Counter:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress is not None:
            self.progress.stop()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def _line(self, name: str, done: int, total: int) -> None:
        if done * 10 // total > self.tenths.get(name, 0):
            self.tenths[name] = done * 10 // total
            print(f"{name}: {done}/{total} problems", flush=True)

    def _bar(self, name: str, done: int, total: int) -> None:
        assert self.progress is not None
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.bars[name], completed=done)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
