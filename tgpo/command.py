"""From the command line to exit codes: 0 done, 2 the request is wrong, 130 interrupted, 1 anything else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tgpo.config import KEY_ADVICE, Request, check, run_directory, to_container
from tgpo.errors import ProblemsError, RequestError, StoppedError, did_you_mean, without_credentials
from tgpo.rundir import RunDirectory

STOPPED, REQUEST_IS_WRONG, INTERRUPTED = 1, 2, 130
CONF = Path(__file__).parents[1] / "conf"


def guard(main: Callable[[], None]) -> None:
    """Calls Hydra's main; what Hydra itself finds wrong becomes one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would otherwise print with advice of its own
    for argument in sys.argv[1:]:
        if without_credentials(argument) != argument:  # before a folder of a sweep is named after it
            fail(f"{argument}: an address with a user name or password would be written into the run; {KEY_ADVICE}")
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def fail(*messages: str) -> NoReturn:
    for message in messages:
        tell(f"error: {without_credentials(message)}")
    sys.exit(REQUEST_IS_WRONG)


def tell(message: str) -> None:
    """Once, however many processes there are."""
    if is_main():
        print(message, file=sys.stderr)


def run_job(config: DictConfig) -> None:
    """One job: checks the request with the light imports, then runs it. A wrong one leaves no directory behind."""
    runtime = HydraConfig.get().runtime
    own, resume = Path(runtime.output_dir), config.resume is not None
    with open_dict(config):
        config.choices = {group: choice for group, choice in runtime.choices.items() if not group.startswith("hydra/")}
        config.output_dir = str(own)  # a sweep gives each job a folder of its own
        config.overrides = list(HydraConfig.get().overrides.task)

    def checked() -> Request:
        if resume and len(config.overrides) > 1:
            raise RequestError("resume goes on with the run's own configuration; give resume=PATH and nothing else")
        request = check(RunDirectory(own).config() if resume else config)

        if request.options.preflight_only:
            look_only(request, own)

        from tgpo.preflight import preflight

        preflight(request)
        return request

    try:
        request, directory = agreed(checked, own) if several() else (checked(), own)
        if directory != own:
            remove_if_empty(own)

        from tgpo.loop import RunInterruptedError
        from tgpo.run import run

        try:
            run(request, directory, resume=resume)
        except StoppedError as error:
            tell(f"stopped: {error}; go on with: python run.py resume={directory}")
            sys.exit(STOPPED)
        except RunInterruptedError:
            tell(f"interrupted; go on with: python run.py resume={directory}")
            sys.exit(INTERRUPTED)
    except RequestError as error:
        remove_if_empty(own)
        fail(*(error.problems if isinstance(error, ProblemsError) else [str(error)]))


def look_only(request: Request, directory: Path) -> NoReturn:
    """`preflight_only=true`: the table, and exit code 2 where it shows a problem."""
    from tgpo.preflight import examine
    from tgpo.preflight.table import show

    rows = examine(request)
    show(rows)
    remove_if_empty(directory)
    sys.exit(REQUEST_IS_WRONG if any(row.state == "problem" for row in rows) else 0)


def several() -> bool:
    """Whether `torchrun` began more than this process; asked of the environment, because torch takes seconds."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def agreed(checked: Callable[[], Request], own: Path) -> tuple[Request, Path]:
    """The request, which must be the same in every process, and the main one's directory. The others fall silent."""
    from tgpo import distributed

    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise RequestError("torchrun runs one job in several processes; for a sweep use -m without it, or a launcher")
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the life of the process
    distributed.start()
    requests = distributed.together(checked)
    for rank, request in enumerate(requests):
        if where := first_difference(requests[0].resolved, request.resolved):
            key, ours, theirs = where
            raise RequestError(
                f"process {rank} was given {key}={theirs} and process 0 {key}={ours}; start all with the same command"
            )
    return requests[distributed.rank()], distributed.gather(own)[0]


def first_difference(ours: Any, theirs: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """Of two configurations: the first key that differs, and its two values. Folders are named by the clock."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return None if ours == theirs else (key, ours, theirs)
    for name in sorted({*ours, *theirs} - {"output_dir", "overrides", "choices"}):
        inner = f"{key}.{name}" if key else name
        if found := first_difference(ours.get(name), theirs.get(name), inner):
            return found
    return None


def request_from(overrides: list[str]) -> Request:
    """The checked request of a program that takes the options of `run.py`."""
    return check(composed("config", overrides))


def request_of(command: str, overrides: list[str]) -> tuple[Request, dict[str, Any]]:
    """The same for a command with options of its own: `conf/COMMAND.yaml` adds the section COMMAND, given beside it."""
    resolved = composed(command, overrides)
    own = resolved.pop(command)
    return check(resolved), own


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return to_container(compose(name, [*overrides, "output_dir=none"]))
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(explain(error)) from error


def remove_if_empty(directory: Path) -> None:
    """Hydra makes the folder (and up to two above it) before the job begins."""
    for path in (directory, *list(directory.parents)[:2]):
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()


def explain(error: Exception) -> str:
    """Hydra's message in one line, with the nearest name that exists."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is not of the form key=value"
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, choice = found[1].rpartition("/")
        return f"{group}={choice}: no such choice{did_you_mean(choice, choices(group))}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"'{found[1]}' is not an option{did_you_mean(found[1], known_names())}"
    return " ".join(text.split())


def choices(group: str) -> list[str]:
    return [path.stem for path in (CONF / group).glob("*.yaml")]


def known_names() -> list[str]:
    """Every group and key of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = OmegaConf.to_container(compose("config"))
    return [path.name for path in CONF.iterdir() if path.is_dir()] + key_names(config)


def key_names(node: object, prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items() if isinstance(node, dict) else ():
        names += [prefix + str(key), *key_names(value, f"{prefix}{key}.")]
    return names
