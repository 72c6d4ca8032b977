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

from tgpo.config.check import check
from tgpo.config.compose import composed
from tgpo.config.request import Request
from tgpo.errors import RequestError, did_you_mean, exit_on_error
from tgpo.evaluation.examine import ReportProgress, plan, run_eval_sets
from tgpo.evaluation.locate import Located, locate
from tgpo.evaluation.results import save_table, table
from tgpo.runs.files import make_folder
from tgpo.runs.keys import option_of

SHORT = ("checkpoint", "output")  # for evaluation.checkpoint and evaluation.output
AS_THE_RUN = ("max_response_length", "temperature", "samples_per_problem", "pass_at")  # of `eval`, taken from the run


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


def request_of(arguments: list[str]) -> tuple[Request, Located, Path]:
    """Returns the checked request, the checkpoint and the output folder.

    The request's student is the checkpoint; a run's checkpoint also gets that run's task, sampling and end tokens,
    except where the arguments give others.
    """
    words = [f"evaluation.{a}" if a.split("=")[0] in SHORT else a for a in arguments]
    given = {option_of(word) for word in words}
    of_task = [word for word in words if word.lstrip("+~").startswith("task.")]  # a run's task may lack them
    resolved = composed("evaluation", [word for word in words if word not in of_task])
    own = resolved.pop("evaluation")
    if not isinstance(own, dict):
        raise RequestError(f"evaluation={own}: it is a section; give its options, as checkpoint=PATH")
    if unknown := sorted(set(own) - set(SHORT)):
        raise RequestError(f"'evaluation.{unknown[0]}' is not an option{did_you_mean(unknown[0], SHORT)}")
    if own["checkpoint"] in (None, ""):
        raise RequestError("say what is evaluated: checkpoint=PATH")
    if given & {"student", "student.path", "student.name"}:
        raise RequestError("checkpoint=PATH says what is evaluated; leave student out")
    located = locate(str(own["checkpoint"]))
    if located.run is not None and "task" not in given:
        if of_task:
            raise RequestError(f"{of_task[0]}: the task is that of {located.run}; to set its options, give task= too")
        resolved["task"] = located.run_config()["task"]
    elif of_task:
        resolved["task"] = composed("evaluation", words)["task"]
    resolved["student"] |= {"name": located.slug, "path": located.model}
    if located.run is not None and "student.end_tokens" not in given:
        resolved["student"]["end_tokens"] = located.run_config()["student"].get("end_tokens", [])
    if located.run is not None and "eval" not in given:
        of_run = located.run_config().get("eval", {})
        resolved["eval"] |= {key: of_run[key] for key in AS_THE_RUN if key in of_run and f"eval.{key}" not in given}
    group = next((word.split("=")[1] for word in words if word.startswith("eval=")), "greedy")
    parent = Path("outputs", "evaluation", located.slug)
    if located.run is not None:
        parent = located.run / "evaluation" / Path(located.model).parent.name
    output = Path(own["output"] or parent / group)
    return check(resolved), located, output


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
