"""One run, from a checked request to its last record."""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from tgpo.build.load import DEFAULT_THREADS
from tgpo.config.inputs import digests
from tgpo.config.request import Request
from tgpo.demonstrations.generate import demonstrate, recipe
from tgpo.errors import RequestError, StoppedError
from tgpo.metrics.writer import Writer
from tgpo.runs.directory import ReadOnly, RunDirectory
from tgpo.runs.provenance import provenance
from tgpo.runs.resume import Start
from tgpo.runtime import collectives
from tgpo.runtime.interrupt import Interrupt
from tgpo.runtime.torchrun import is_main
from tgpo.tasks.demonstrations import Demonstrations, agree_on, read
from tgpo.training import checkpoint
from tgpo.training.components import build_components
from tgpo.training.loop import RunInterruptedError, open_writer, train_loop
from tgpo.types.problem import Need


def train(request: Request, directory: Path, start: Start | None, closing: ExitStack) -> Writer:
    """Runs one checked request in `directory`, or continues it from `start`, until its last record is written.

    Returns the writer of the records. It is closed with `closing`, because files that are made after training, such as
    the report, may still be attached to it.
    """
    files = RunDirectory(directory) if is_main() else ReadOnly(directory)
    inputs = digests(request.resolved) if is_main() else {}
    if start is None:
        files.create(request.resolved, provenance(request.resolved, inputs))
    else:
        check_own_demonstrations(request, directory)
        files.note_resume(provenance(request.resolved, inputs) | start.record())
        files.write_config(request.resolved)
        if is_main():
            checkpoint.drop_after(files.checkpoints, start.step)
    step, components = start.step if start else 0, None
    files.status("running", step)
    try:
        demonstrated = demonstrations(request, directory)  # can take long; an interrupt ends it at once
        with Interrupt(several=collectives.size() > 1) as interrupt:
            components = build_components(request, start.checkpoint if start else None, demonstrated)
            writer = closing.enter_context(open_writer(request, files, components.done))
            for step in train_loop(components, files, interrupt, writer):
                files.status("running", step)
    except (RunInterruptedError, KeyboardInterrupt):
        files.status("interrupted", step, f"stopped on request, go on with resume={directory}")
        raise
    except BaseException as error:
        with suppress(StoppedError):  # writing fails on a full disk, which may be the error that is being reported
            files.status("failed", step, f"{type(error).__name__}: {error}")
        raise
    else:
        files.status("done", step)  # the report that follows can be made again at any time
    finally:
        # Collect now, not while the next job of a sweep runs: freeing a vLLM engine also frees what a later one uses.
        components = None
        gc.collect()
    return writer


def demonstrations(request: Request, directory: Path) -> Demonstrations | None:
    """Returns the demonstrations at `demonstrations.path`, or generates the run's own; None if none are needed."""
    if Need.DEMONSTRATION not in request.objective.needs:
        return None
    if request.options.demonstrations.path is not None:
        return read(Path(request.options.demonstrations.path))
    torch.set_num_threads(request.options.train.threads or DEFAULT_THREADS)
    collectives.run_on_main(lambda: demonstrate(request, directory / "demonstrations", print))
    own = read(directory / "demonstrations")
    if not own.by_problem:
        raise RequestError(
            "the teacher got none of the run's problems right and there is nothing to show; choose another teacher, or "
            "begin again with more demonstrations.attempts"
        )
    return own


def check_own_demonstrations(request: Request, directory: Path) -> None:
    """Raises RequestError unless the demonstrations a run generated are those the resumed request would generate."""
    own = directory / "demonstrations"
    given = request.options.demonstrations.path is not None
    if Need.DEMONSTRATION in request.objective.needs and not given and (own / "recipe.json").is_file():
        agree_on(own, recipe(request))
