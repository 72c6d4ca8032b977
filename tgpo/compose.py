"""The configuration composed by hand, beside the job that Hydra runs; and Hydra's messages in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tgpo.config import Request, check, run_directory, to_container
from tgpo.errors import RequestError, did_you_mean

LAUNCHERS = {  # Hydra's name: ours, and what brings it
    "joblib": ("local", "hydra-joblib-launcher>=1.2"),
    "submitit_slurm": ("slurm", "hydra-submitit-launcher>=1.2"),
    "ray": ("ray", "hydra-ray-launcher>=1.2.2"),
}
CONF = Path(__file__).parents[1] / "conf"
PLAIN = re.compile(r"[\w./:+-]*", re.ASCII)  # what Hydra's grammar reads as it stands

# here and not beside the class: Hydra finds its plugins only from the folder of run.py, and modules run from any
SWEEPER = {"_target_": "hydra_plugins.tgpo_sweeper.TGPOSweeper", "max_batch_size": None, "params": None, "arms": None}
ConfigStore.instance().store(group="hydra/sweeper", name="tgpo", node=SWEEPER, provider="tgpo")


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
            found = to_container(compose(name, [*map(quoted, overrides), "output_dir=none"]))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(explain(error, name)) from error
    if found["resume"] is not None:
        raise RequestError(f"resume={found['resume']}: python run.py goes on with a run; leave it out here")
    return found


@contextmanager
def beside_the_job() -> Iterator[None]:
    """Lets a job compose another configuration than its own."""
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)


def quoted(argument: str) -> str:
    """A path that exists is taken as it is, whatever is in it: the folders of a sweep's runs have `=` and `,`."""
    key, _, value = argument.partition("=")
    if not PLAIN.fullmatch(value) and os.path.exists(value):  # false of what is too long for a path, too
        return f"{key}={literal(value)}"
    return argument


def literal(text: str) -> str:
    """As Hydra's grammar reads a string: nothing in it is a list, a sweep or an interpolation."""
    text = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + m[2].replace("'", r"\'"), text)  # backslashes count before quotes
    return "'{}'".format(text.replace("${", r"\${"))


def explain(error: Exception, name: str = "config") -> str:
    """Hydra's message in one line, with the nearest name that exists in `conf/NAME.yaml`."""
    text = str(error)
    if told := next((cause for cause in causes(error) if isinstance(cause, RequestError)), None):
        return str(told)  # of a resolver; OmegaConf has wrapped it in words of its own
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename}: {str(error.strerror).lower()}; give a folder that can be written"
    if text.startswith("Config group override must be"):
        return "a group of the configuration takes the name of a choice; python run.py --help lists them"
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is not of the form key=value"
    if (found := re.search(r"Could not find 'hydra/launcher/(\w+)'", text)) and found[1] in LAUNCHERS:
        return "launcher={} is not installed; pip install '{}'".format(*LAUNCHERS[found[1]])
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, choice = found[1].rpartition("/")
        return f"{group}={choice}: no such choice{did_you_mean(choice, choices(group))}"
    if found := re.search(r"Could not override '([^']+)'", text):
        names = known_names(name)
        if found[1] in names:
            return f"'{found[1]}' takes no mapping; give its options one by one, or the name of a choice"
        return f"'{found[1]}' is not an option{did_you_mean(found[1], names)}"
    return " ".join(text.split())


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
