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
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tgpo.config import Request, check, run_directory, to_container
from tgpo.errors import RequestError, StoppedError, did_you_mean
from tgpo.rundir import RunDirectory

STOPPED, REQUEST_IS_WRONG, INTERRUPTED = 1, 2, 130
CONF = Path(__file__).parents[1] / "conf"


def guard(main: Callable[[], None]) -> None:
    """Calls Hydra's main; what Hydra itself finds wrong becomes one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would otherwise print with advice of its own
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(REQUEST_IS_WRONG)


def run_job(config: DictConfig) -> None:
    """One job: checks the request with the light imports, then runs it. A wrong one leaves no directory behind."""
    runtime = HydraConfig.get().runtime
    directory, resume = Path(runtime.output_dir), config.resume is not None
    with open_dict(config):
        config.choices = {group: choice for group, choice in runtime.choices.items() if not group.startswith("hydra/")}
        config.output_dir = str(directory)  # a sweep gives each job a folder of its own
        config.overrides = list(HydraConfig.get().overrides.task)
    try:
        if resume and len(config.overrides) > 1:
            raise RequestError("resume goes on with the run's own configuration; give resume=PATH and nothing else")
        request = check(RunDirectory(directory).config() if resume else config)

        from tgpo.preflight import preflight

        preflight(request)

        from tgpo.loop import RunInterruptedError
        from tgpo.run import run

        try:
            run(request, directory, resume=resume)
        except StoppedError as error:
            print(f"stopped: {error}; go on with: python run.py resume={directory}", file=sys.stderr)
            sys.exit(STOPPED)
        except RunInterruptedError:
            print(f"interrupted; go on with: python run.py resume={directory}", file=sys.stderr)
            sys.exit(INTERRUPTED)
    except RequestError as error:
        remove_if_empty(directory)
        fail(str(error))


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
        raise RequestError(explain(error, name)) from error


def remove_if_empty(directory: Path) -> None:
    """Hydra makes the folder (and up to two above it) before the job begins."""
    for path in (directory, *list(directory.parents)[:2]):
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()


def explain(error: Exception, name: str = "config") -> str:
    """Hydra's message in one line, with the nearest name that exists in `conf/NAME.yaml`."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is not of the form key=value"
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, choice = found[1].rpartition("/")
        return f"{group}={choice}: no such choice{did_you_mean(choice, choices(group))}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"'{found[1]}' is not an option{did_you_mean(found[1], known_names(name))}"
    return " ".join(text.split())


def choices(group: str) -> list[str]:
    return [path.stem for path in (CONF / group).glob("*.yaml")]


def known_names(name: str) -> list[str]:
    """Every group and key of that configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = OmegaConf.to_container(compose(name))
    return [path.name for path in CONF.iterdir() if path.is_dir()] + key_names(config)


def key_names(node: object, prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items() if isinstance(node, dict) else ():
        names += [prefix + str(key), *key_names(value, f"{prefix}{key}.")]
    return names
