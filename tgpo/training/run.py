"""One run, from a checked request to the last of its records."""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from tgpo.build.load import DEFAULT_THREADS
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
    """Runs one checked request in `directory`, or goes on with it from `start`, to the last of its records.

    The writer of those records is closed with `closing`: what comes after training may still be attached to it.
    """
    files = RunDirectory(directory) if is_main() else ReadOnly(directory)
    if start is None:
        files.create(request.resolved, provenance(request.resolved))
    else:
        check_own_demonstrations(request, directory)
        files.note_resume(provenance(request.resolved) | start.record())
        files.write_config(request.resolved)
        if is_main():
            checkpoint.drop_after(files.checkpoints, start.step)
    step, components = start.step if start else 0, None
    files.status("running", step)
    try:
        shown = demonstrations(request, directory)  # can be long, and an interrupt ends it at once
        with Interrupt(several=collectives.size() > 1) as interrupt:
            components = build_components(request, start.checkpoint if start else None, shown)
            writer = closing.enter_context(open_writer(request, files, components.done))
            for step in train_loop(components, files, interrupt, writer):
                files.status("running", step)
    except (RunInterruptedError, KeyboardInterrupt):
        files.status("interrupted", step, f"stopped on request, go on with resume={directory}")
        raise
    except BaseException as error:
        with suppress(StoppedError):  # of a full disk, which may be what is told already
            files.status("failed", step, f"{type(error).__name__}: {error}")
        raise
    else:
        files.status("done", step)  # what comes after can be made again
    finally:
        # Collected now and not while the next job of a sweep runs: a vLLM engine takes with it what another one shares.
        components = None
        gc.collect()
    return writer


def demonstrations(request: Request, directory: Path) -> Demonstrations | None:
    """Those at `demonstrations.path`, or the run's own: made here when its objective asks for them."""
    if Need.DEMONSTRATION not in request.objective.needs:
        return None
    if request.options.demonstrations.path is not None:
        return read(Path(request.options.demonstrations.path))
    torch.set_num_threads(request.options.train.threads or DEFAULT_THREADS)
    collectives.run_on_main(lambda: demonstrate(request, directory / "demonstrations", print))
    shown = read(directory / "demonstrations")
    if not shown.by_problem:
        raise RequestError(
            "the teacher got none of the run's problems right and there is nothing to show; choose another teacher, or "
            "begin again with more demonstrations.attempts"
        )
    return shown


def check_own_demonstrations(request: Request, directory: Path) -> None:
    """Those a run made for itself must be what the request it is resumed with would make."""
    own = directory / "demonstrations"
    given = request.options.demonstrations.path is not None
    if Need.DEMONSTRATION in request.objective.needs and not given and (own / "recipe.json").is_file():
        agree_on(own, recipe(request))
