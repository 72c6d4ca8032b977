"""Runs one job, from the configuration that Hydra composed to an exit code.

The exit code is 0 if the job is done, 2 if the request is wrong, 130 if it was interrupted, 1 for anything else.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from tgpo.config.check import check, to_container
from tgpo.config.compose import composed, nested_hydra, record_choices
from tgpo.config.folders import remove_if_empty
from tgpo.config.inputs import digests
from tgpo.config.request import Request
from tgpo.errors import (
    INTERRUPTED,
    REQUEST_IS_WRONG,
    STOPPED,
    RequestError,
    StoppedError,
    first_line,
    lines_of,
    no_room,
    program,
)
from tgpo.runs.directory import RunDirectory, complete
from tgpo.runs.files import read_json
from tgpo.runs.keys import OF_RESUMING, option_of
from tgpo.runs.resume import Changes, Start, changed, changed_inputs, check_changes, check_inputs, pick
from tgpo.runs.sweep import Outcome, begin_again, day_of
from tgpo.runtime.interrupt import Interrupt, take_sigterm
from tgpo.runtime.torchrun import (
    broadcast,
    join_with_one_request,
    leave,
    print_error,
    process_count,
    run_on_main,
)


def run_job(config: DictConfig) -> Outcome:
    """Runs one job. In a sweep it returns the outcome; otherwise it ends the process, unless the exit code is 0."""
    take_sigterm()  # again here, because a launcher may have started this process
    hydra = HydraConfig.get()
    alone = hydra.mode == RunMode.RUN
    directory = Path(hydra.runtime.output_dir)
    typed, rerun = record_command(config, directory)
    resume = config.resume is not None or (not alone and begin_again(directory))
    try:
        if alone and rerun is not None:
            outcome = Outcome(REQUEST_IS_WRONG, f"error: rerun={rerun} goes on with a sweep; add -m")
        elif alone and any(option_of(o) == "launcher" for o in typed):
            outcome = Outcome(REQUEST_IS_WRONG, "error: launcher says where the runs of a sweep go; add -m")
        else:
            outcome = attempt(config, directory, resume)
    except Exception as error:
        if alone:
            raise
        traceback.print_exc()
        outcome = Outcome(STOPPED, f"{type(error).__name__}: {first_line(error)}")
    if alone:
        end_alone(directory, outcome)
    elif outcome.code:
        record_failure(config, directory, outcome)
        if outcome.code == INTERRUPTED and hydra.launcher._target_.endswith("BasicLauncher"):
            raise KeyboardInterrupt  # the interrupt was meant for the sweep, not only for this run
    return outcome


def record_command(config: DictConfig, directory: Path) -> tuple[list[str], str | None]:
    """Records in the configuration the output folder, the overrides that were typed, and the choices they made.

    Returns the overrides as they were typed, and `rerun`, which like all options of a sweep is not part of a run.
    """
    hydra = HydraConfig.get()
    typed = [str(o) for o in OmegaConf.to_container(hydra.overrides.task) or ()]
    with open_dict(config):
        rerun = config.rerun
        record_choices(config, hydra.runtime.choices, typed)
        config.output_dir = str(directory)  # a sweep gives each job a folder of its own
    return typed, rerun


def end_alone(directory: Path, outcome: Outcome) -> None:
    if outcome.code:
        remove_if_empty(directory)
    if outcome.reason:
        print_error(outcome.reason)
    if outcome.code:
        sys.exit(outcome.code)


def attempt(config: DictConfig, own: Path, resume: bool) -> Outcome:
    """Checks the request, then runs it. A request that is refused before the run begins leaves no files."""
    try:
        changes: Changes = {}

        def checked() -> Request:
            check_command(config)
            configuration = configuration_of(config, own, resume, changes)
            request = check(configuration, day_of(own.parent))
            if resume:
                inputs = changed_inputs(own, digests(request.resolved), changes)
                check_inputs(own, inputs, config.resume_with_changes)
                changes.update(inputs)
            if not config.preflight_only:
                from tgpo.preflight.checks import preflight

                preflight(request)
            return request

        request = join_with_one_request(checked) if process_count() > 1 else checked()
        if config.preflight_only:
            return show_preflight(request, own)
        directory = broadcast(own)
        start = run_on_main(lambda: pick(directory, changes, request.options.train.steps)) if resume else None
        if directory != own:
            remove_if_empty(own)
        return run(request, directory, start)
    except RequestError as error:
        return Outcome(REQUEST_IS_WRONG, lines_of(error))
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "interrupted before the run began")
    finally:
        leave()


def check_command(config: DictConfig) -> None:
    """Raises RequestError for options about the command itself that do not go together."""
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if config.resume is not None and sweep:
        raise RequestError("resume goes on with one run; leave out -m (a sweep goes on with rerun=failed)")
    for key in ("resume_with_changes", "preflight_only"):  # `check` sees the saved values of a resumed run instead
        if not isinstance(config[key], bool):
            raise RequestError(f"{key}={config[key]}: it is true or false")
    if config.resume is None and config.resume_with_changes:
        raise RequestError("resume_with_changes=true says how a run goes on; name it with resume=PATH")
    if config.preflight_only and sweep:
        raise RequestError("preflight_only=true looks at one run; leave out -m")
    if process_count() > 1 and sweep:
        raise RequestError("torchrun runs one job in several processes; for a sweep use -m without it, or launcher=")


def configuration_of(config: DictConfig, own: Path, resume: bool, changes: Changes) -> Any:
    """Returns the configuration to run: the one composed now, or the resumed run's own with the requested changes.

    The changes are added to `changes`.
    """
    if not resume:
        return config
    configuration = RunDirectory(own).config() | {"output_dir": str(own)}  # the folder may have been moved
    if config.resume is not None:
        configuration, new = with_changes(configuration, config, own)
        changes.update(new)
    return configuration


def with_changes(own: dict[str, Any], config: DictConfig, run: Path) -> tuple[dict[str, Any], Changes]:
    """Returns the resumed run's own configuration with the options given beside `resume`, and what they change.

    Raises RequestError for an option that must not change.
    """
    given = [o for o in config.overrides if option_of(o) not in OF_RESUMING]
    if any(option_of(o) == "output_dir" for o in config.overrides):
        raise RequestError("resume goes on in the run's own folder; leave out output_dir")
    if not given:
        return own, {}
    given_keys = {option_of(o) for o in given}
    overrides = [o for o in own["overrides"] if option_of(o) not in given_keys] + given
    with nested_hydra():
        before, after = (check(composed("config", o)).resolved for o in (own["overrides"], overrides))
    merged, changes = changed(own, before, after)
    check_changes(run, changes, config.resume_with_changes)
    if changes:
        chosen = {option_of(o): o.partition("=")[2] for o in given if option_of(o) in own["choices"]}
        merged |= {"overrides": overrides, "choices": own["choices"] | chosen}
    return merged, changes


def run(request: Request, directory: Path, start: Start | None) -> Outcome:
    """Trains in `directory`, then writes the run's report and prints its last lines."""
    for line in start.lines() if start else ():
        print_error(line)

    from tgpo.runtime.isolation import isolated
    from tgpo.training.loop import RunInterruptedError
    from tgpo.training.run import train

    try:
        with isolated(), ExitStack() as closing:
            report_on(directory, train(request, directory, start, closing))
    except StoppedError as error:
        return Outcome(STOPPED, f"stopped: {error}; {hint(directory)}")
    except OSError as error:
        if (reason := no_room(error)) is None:
            raise
        return Outcome(STOPPED, f"stopped: {error.filename or directory}: {reason}; make room; {hint(directory)}")
    except (RunInterruptedError, KeyboardInterrupt):
        return Outcome(INTERRUPTED, f"interrupted; {hint(directory)}")
    return Outcome()


def report_on(directory: Path, writer: Any) -> None:
    """Writes the report of a run that is done and prints its last lines.

    A signal takes effect afterwards. Raised in between, KeyboardInterrupt may come inside a finalizer of the libraries
    that draw the report, where Python only prints it.
    """
    from tgpo.runtime.torchrun import is_main

    if not is_main():
        return

    with Interrupt() as interrupt:
        from tgpo.report.page import closing_lines, write_report

        report = write_report(directory)
        writer.attach(report)
        print(closing_lines(directory, report), flush=True)
    if interrupt.requested:
        raise KeyboardInterrupt


def hint(directory: Path) -> str:
    """Returns how to go on with a run that was stopped, as the end of a message."""
    if read_json(directory / "status.json").get("status") == "done":  # stopped while its report was written
        return f"the run is done; its report can be made again with: {program('report')} {shlex.quote(str(directory))}"
    checkpoints = complete(directory / "checkpoints")
    where = f"go on from {checkpoints[-1].name}" if checkpoints else "there is no checkpoint yet, begin again"
    return f"{where} with: {program()} {shlex.quote(f'resume={directory}')}"


def show_preflight(request: Request, directory: Path) -> Outcome:
    """Prints the table of `preflight_only=true`; the exit code is 2 if there is a problem."""
    from tgpo.preflight.checks import inspect_all
    from tgpo.preflight.table import show

    rows = inspect_all(request)
    show(rows)
    remove_if_empty(directory)
    return Outcome(REQUEST_IS_WRONG if any(row.state == "problem" for row in rows) else 0)


def record_failure(config: DictConfig, directory: Path, outcome: Outcome) -> None:
    """Writes a status for a run of a sweep that failed before it had one, so that no cell of the sweep is missing."""
    if (directory / "status.json").exists():
        return
    files = RunDirectory(directory)
    files.path.mkdir(parents=True, exist_ok=True)
    with suppress(RequestError):  # without config.yaml, if the configuration does not resolve
        files.write_config(to_container(config))
    files.status("failed", 0, outcome.reason)
