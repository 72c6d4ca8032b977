"""From the command line to exit codes: 0 done, 2 the request is wrong, 130 interrupted, 1 anything else."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tgpo.compose import beside_the_job, composed, explain, quoted
from tgpo.config import Request, check, first_line, first_missing, to_container
from tgpo.errors import (
    INTERRUPTED,
    REQUEST_IS_WRONG,
    STOPPED,
    RequestError,
    StoppedError,
    lines_of,
    no_room,
    without_credentials,
)
from tgpo.interrupt import take_sigterm
from tgpo.options import KEY_ADVICE
from tgpo.resume import Changes, changed, check_changes, pick
from tgpo.rundir import RunDirectory, complete
from tgpo.sweep import OF_THE_SWEEP, Outcome, begin_again, option
from tgpo.torchrun import agreed, first_alone, leave, several, tell

OF_RESUMING = ("resume", "resume_with_changes", "preflight_only", "output_dir")  # options that change nothing of a run


def guard(main: Callable[[], None]) -> None:
    """Calls Hydra's main; what Hydra itself finds wrong becomes one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would otherwise print with advice of its own
    for argument in sys.argv[1:]:
        if without_credentials(argument) != argument:  # before a folder of a sweep is named after it
            what = "an address with a user name or password would be written into the run"
            fail(RequestError(f"{argument}: {what}; {KEY_ADVICE}"))
    sys.argv[1:] = map(quoted, sys.argv[1:])
    take_sigterm()
    try:
        check_flags()
        main()
    except (HydraException, OmegaConfBaseException) as error:
        fail(RequestError(explain(error)))
    except RequestError as error:
        fail(error)
    except (OSError, ValueError) as error:
        if any(frame.f_code is run_job.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        fail(RequestError(explain(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def check_flags() -> None:
    """Those of Hydra itself, which would print how it is called as well."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; python run.py --help lists the options")

    parser.error = refuse
    parser.parse_args()


def fail(error: RequestError) -> NoReturn:
    tell(lines_of(error))
    sys.exit(REQUEST_IS_WRONG)


def run_job(config: DictConfig) -> Outcome:
    """One job. Alone it ends the process with its exit code; in a sweep it hands it back, and the next one begins."""
    take_sigterm()  # also where a launcher began this process
    hydra = HydraConfig.get()
    alone = hydra.mode == RunMode.RUN
    directory = Path(hydra.runtime.output_dir)
    with open_dict(config):
        of_a_run = {g: c for g, c in hydra.runtime.choices.items() if not g.startswith("hydra/") and g != "launcher"}
        config.choices = of_a_run
        config.output_dir = str(directory)  # a sweep gives each job a folder of its own
        given = [str(o) for o in OmegaConf.to_container(hydra.overrides.task) or ()]  # as they were typed
        config.overrides = [o for o in given if option(o) not in OF_THE_SWEEP]
        rerun = config.pop("rerun")
        del config["sweep_dir"]
    resume = config.resume is not None or (not alone and begin_again(directory))
    try:
        if alone and rerun is not None:
            outcome = Outcome(REQUEST_IS_WRONG, f"error: rerun={rerun} goes on with a sweep; add -m")
        elif alone and any(option(o) == "launcher" for o in given):
            outcome = Outcome(REQUEST_IS_WRONG, "error: launcher says where the runs of a sweep go; add -m")
        else:
            outcome = attempt(config, directory, resume)
    except Exception as error:
        if alone:
            raise
        traceback.print_exc()
        outcome = Outcome(STOPPED, f"{type(error).__name__}: {first_line(error)}")
    if alone:
        if outcome.code:
            remove_if_empty(directory)
        if outcome.reason:
            tell(outcome.reason)
        if outcome.code:
            sys.exit(outcome.code)
    elif outcome.code:
        record_failure(config, directory, outcome)
        if outcome.code == INTERRUPTED and hydra.launcher._target_.endswith("BasicLauncher"):
            raise KeyboardInterrupt  # the sweep was asked to stop, not this run of it alone
    return outcome


def attempt(config: DictConfig, own: Path, resume: bool) -> Outcome:
    """Checks the request with the light imports, then runs it. A wrong one leaves nothing behind."""
    try:
        return checked_and_run(config, own, resume)
    except RequestError as error:
        return Outcome(REQUEST_IS_WRONG, lines_of(error))
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "interrupted before the run began")
    finally:
        leave()


def checked_and_run(config: DictConfig, own: Path, resume: bool) -> Outcome:
    """Raises RequestError for a wrong request."""

    changes: Changes = {}

    def checked() -> Request:
        nonlocal changes
        if config.resume is not None and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise RequestError("resume goes on with one run; leave out -m (a sweep goes on with rerun=failed)")
        for key in ("resume_with_changes", "preflight_only"):  # a resumed run's own are checked in place of these
            if not isinstance(config[key], bool):
                raise RequestError(f"{key}={config[key]}: it is true or false")
        if config.resume is None and config.resume_with_changes:
            raise RequestError("resume_with_changes=true says how a run goes on; name it with resume=PATH")
        if config.preflight_only and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise RequestError("preflight_only=true looks at one run; leave out -m")
        if several() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise RequestError(
                "torchrun runs one job in several processes; for a sweep use -m without it, or launcher="
            )
        found: Any = config
        if resume:
            found, changes = RunDirectory(own).config() | {"output_dir": str(own)}, {}  # it may have been moved
        if config.resume is not None:
            found, changes = with_changes(found, config, own)
        request = check(found)
        if not config.preflight_only:
            from tgpo.preflight import preflight

            preflight(request)
        return request

    request, directory = agreed(checked, own) if several() else (checked(), own)
    if config.preflight_only:
        return look_only(request, own)
    start = first_alone(lambda: pick(directory, changes, request.options.train.steps)) if resume else None
    for line in start.lines() if start else ():
        tell(line)
    if directory != own:
        remove_if_empty(own)

    from tgpo.isolation import isolated
    from tgpo.loop import RunInterruptedError
    from tgpo.run import run

    try:
        with isolated():
            run(request, directory, start)
    except StoppedError as error:
        return Outcome(STOPPED, f"stopped: {error}; {hint(directory)}")
    except OSError as error:
        if (reason := no_room(error)) is None:
            raise
        return Outcome(STOPPED, f"stopped: {error.filename or directory}: {reason}; make room; {hint(directory)}")
    except (RunInterruptedError, KeyboardInterrupt):
        return Outcome(INTERRUPTED, f"interrupted; {hint(directory)}")
    return Outcome()


def with_changes(own: dict[str, Any], config: DictConfig, run: Path) -> tuple[dict[str, Any], Changes]:
    """The resumed run's own configuration with the options given beside `resume`, which must be allowed if they change
    anything."""
    given = [o for o in config.overrides if option(o) not in OF_RESUMING]
    if any(option(o) == "output_dir" for o in config.overrides):
        raise RequestError("resume goes on in the run's own folder; leave out output_dir")
    if not given:
        return own, {}
    again = {option(o) for o in given}
    overrides = [o for o in own["overrides"] if option(o) not in again] + given
    with beside_the_job():
        before, after = (check(composed("config", o)).resolved for o in (own["overrides"], overrides))
    found, changes = changed(own, before, after)
    check_changes(run, changes, config.resume_with_changes)
    if changes:
        chosen = {option(o): o.partition("=")[2] for o in given if option(o) in own["choices"]}
        found |= {"overrides": overrides, "choices": own["choices"] | chosen}
    return found, changes


def hint(directory: Path) -> str:
    found = complete(directory / "checkpoints")
    where = f"go on from {found[-1].name}" if found else "there is no checkpoint yet, begin again"
    return f"{where} with: python run.py {shlex.quote(f'resume={directory}')}"


def look_only(request: Request, directory: Path) -> Outcome:
    """`preflight_only=true`: the table, and exit code 2 where it shows a problem."""
    from tgpo.preflight import examine
    from tgpo.preflight.table import show

    rows = examine(request)
    show(rows)
    remove_if_empty(directory)
    return Outcome(REQUEST_IS_WRONG if any(row.state == "problem" for row in rows) else 0)


def record_failure(config: DictConfig, directory: Path, outcome: Outcome) -> None:
    """A run of a sweep that was refused or failed before it had a status gets one: no cell vanishes."""
    if (directory / "status.json").exists():
        return
    files = RunDirectory(directory)
    files.path.mkdir(parents=True, exist_ok=True)
    with suppress(RequestError):  # a configuration that does not resolve is itself the reason
        files.write_config(to_container(config))
    files.status("failed", 0, outcome.reason)


def remove_if_empty(directory: Path) -> None:
    """Takes away what was made for the job before it began, the folders above it included; nothing that was there."""
    outermost = first_missing(os.path.abspath(directory))
    for path in (directory, *directory.parents) if outermost else ():
        if not path.is_dir() or any(path.iterdir()):
            return
        with suppress(OSError):  # another process was quicker
            path.rmdir()
        if os.path.abspath(path) == outermost:
            return
