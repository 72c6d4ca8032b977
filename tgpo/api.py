"""The Python interface, which `tgpo` re-exports: what the commands do, for a notebook or a program of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tgpo.config.check import check
from tgpo.config.compose import request_from
from tgpo.config.request import Request
from tgpo.divergence.quantities import Finding
from tgpo.evaluation.results import Result
from tgpo.report import collect, comparison
from tgpo.report.collect import RunFiles
from tgpo.report.comparison import Sweep


def compose(overrides: Sequence[str] = ()) -> Request:
    """Returns the checked request of a run, as `tgpo OVERRIDES` composes it: `compose(["objective=rkl", "seed=1"])`.

    Raises RequestError for an unknown option or a value out of range; its message says how to fix it.
    """
    return request_from(overrides)


def train(request: Request, directory: str | Path) -> RunFiles:
    """Runs the request in `directory`, which must not hold a run yet, and returns the run's records.

    Everything is as in the command, except that no report is made: `tgpo report DIRECTORY` writes it. The process's
    random states and settings are restored at the end.

    Raises RequestError if the request cannot run here, StoppedError if the run cannot go on (a full disk, a teacher's
    server that is gone), and RunInterruptedError or KeyboardInterrupt on Ctrl-C. `tgpo resume=DIRECTORY` then goes on.
    """
    from tgpo.preflight.checks import preflight
    from tgpo.runtime.isolation import isolated
    from tgpo.training import run

    directory = Path(directory).absolute()
    # built again, because an objective can have a controller, whose state must not pass from one run to the next
    request = check(request.resolved | {"output_dir": str(directory)})
    preflight(request)
    with isolated(), ExitStack() as closing:
        run.train(request, directory, None, closing)
    return read_run(directory)


def evaluate(checkpoint: str | Path, overrides: Sequence[str] = (), output: str | Path | None = None) -> list[Result]:
    """Evaluates a checkpoint, as `tgpo evaluate checkpoint=CHECKPOINT OVERRIDES` does, and returns a result per
    benchmark: its `name`, `metrics`, and `intervals` (a 95 % bootstrap interval of each mean).

    Args:
        checkpoint: a run's directory, one of its `checkpoints/step-N`, `tiny:NAME`, or a model's folder or hub name.
        output: where responses and results are kept, by default below the run. What is there already and has the same
            recipe is not evaluated again.
    """
    from tgpo.evaluation.examine import plan, run_eval_sets
    from tgpo.evaluation.request import request_of
    from tgpo.evaluation.results import save_table
    from tgpo.runs.files import make_folder
    from tgpo.runs.provenance import provenance
    from tgpo.runtime.isolation import isolated

    where = [] if output is None else [f"output={output}"]
    request, located, folder = request_of([f"checkpoint={checkpoint}", *where, *overrides])
    ready = plan(request)
    make_folder(folder, "output")
    with isolated():
        results = run_eval_sets(ready, folder, lambda name, done, total: None, lambda line: None)
    save_table(folder, located.given, results, provenance(request.resolved))
    return results


def measure_divergence(overrides: Sequence[str] = ()) -> list[Finding]:
    """Scores the student's own responses with student and teacher, as `tgpo divergence OVERRIDES` does, and returns
    each quantity with its bootstrap interval by prompt. Nothing is trained, and no file is written."""
    from tgpo.divergence.measure import choose, measure
    from tgpo.divergence.quantities import findings
    from tgpo.divergence.request import request_of
    from tgpo.runtime.isolation import isolated

    request, options = request_of(overrides)
    with isolated():
        counted = measure(request, options, choose(request, options), lambda name, done, total: None)
    return findings(counted, options, request.options.seed)


def read_run(directory: str | Path) -> RunFiles:
    """Returns a run's files, finished or not; `.train` and `.evaluation` are data frames with a row per record."""
    return collect.read_run(Path(directory))


def read_sweep(*directories: str | Path, baseline: str | None = None, task: str | None = None) -> Sweep:
    """Returns all runs at or below the directories as one comparison, as `tgpo report DIRECTORIES` reads them.

    `.members` are the runs and `.statistics` is a data frame: means with intervals, and differences paired by seed.
    """
    return comparison.read_sweep([Path(directory) for directory in directories], baseline, task)
