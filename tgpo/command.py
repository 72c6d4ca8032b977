"""From the command line to exit codes: 0 done, 2 the request is wrong, 130 interrupted, 1 anything else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from tgpo.errors import RequestError, did_you_mean

REQUEST_IS_WRONG, INTERRUPTED = 2, 130


def guard(main: Callable[[], None]) -> None:
    """Calls Hydra's main; mistakes of the person who asked become one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would otherwise print with advice of its own
    try:
        main()
    except RequestError as error:
        fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(REQUEST_IS_WRONG)


def run_job(config: DictConfig) -> None:
    """One job: notes the groups that were chosen, and runs. Leaves no empty directory behind a wrong request."""
    runtime = HydraConfig.get().runtime
    directory = Path(runtime.output_dir)
    choices = {key: value for key, value in runtime.choices.items() if not key.startswith("hydra/")}
    with open_dict(config):
        config.choices = choices
        config.output_dir = str(directory)  # a sweep gives each job a folder of its own
    try:
        from tgpo.loop import RunInterruptedError
        from tgpo.run import run

        try:
            run(config, directory)
        except RunInterruptedError:
            print(f"interrupted; go on with: python run.py resume={directory}", file=sys.stderr)
            sys.exit(INTERRUPTED)
    except RequestError:
        remove_if_empty(directory)
        raise


def remove_if_empty(directory: Path) -> None:
    for path in (directory, *list(directory.parents)[:2]):
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()


def explain(error: Exception) -> str:
    """Hydra's message in one line, with the nearest name that exists."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, choice = found[1].rpartition("/")
        options = re.search(r"Available options in '[^']*':\s*((?:.|\n)*)", text)
        names = options[1].split() if options else []
        return f"{group}={choice}: no such choice" + (did_you_mean(choice, names) if names else "")
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found[1].removeprefix("+")
        return f"'{key}' is not an option{did_you_mean(key, known_names())}"
    return " ".join(text.split())


def known_names() -> list[str]:
    """Every group and key of the default configuration."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    from hydra import initialize_config_dir

    root = Path.cwd() if (Path.cwd() / "conf").is_dir() else Path(__file__).parents[1]
    with initialize_config_dir(version_base="1.3", config_dir=str(root / "conf")):
        config = compose("config")
    groups = [path.name for path in (root / "conf").iterdir() if path.is_dir()]
    return groups + key_names(OmegaConf.to_container(config))


def key_names(node: object, prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items() if isinstance(node, dict) else ():
        names += [prefix + str(key), *key_names(value, f"{prefix}{key}.")]
    return names
