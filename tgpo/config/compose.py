"""Composes a configuration from overrides, in a command that is not Hydra's or inside the job that Hydra runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from tgpo.config import CONF
from tgpo.config.check import check, to_container
from tgpo.config.messages import explain_hydra
from tgpo.config.request import Request
from tgpo.errors import RequestError, program
from tgpo.runs.keys import current_override

PLAIN = re.compile(r"[\w./:+-]*", re.ASCII)  # values that Hydra's grammar reads without quotes

# Registered here and not beside the class: Hydra finds the plugin only if the program is started in the folder of
# run.py, but modules are run from any folder.
SWEEPER = {"_target_": "hydra_plugins.tgpo_sweeper.TGPOSweeper", "max_batch_size": None, "params": None, "arms": None}
ConfigStore.instance().store(group="hydra/sweeper", name="tgpo", node=SWEEPER, provider="tgpo")


def request_from(overrides: list[str]) -> Request:
    """Returns the checked request of a program that takes the options of `run.py`."""
    return check(composed("config", overrides))


def request_of(command: str, overrides: list[str]) -> tuple[Request, dict[str, Any]]:
    """Returns the checked request of a command with options of its own, and the section COMMAND with those options,
    which `conf/COMMAND.yaml` adds."""
    resolved = composed(command, overrides)
    own = resolved.pop(command)
    return check(resolved), own


def composed(name: str, overrides: list[str]) -> dict[str, Any]:
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = to_container(compose(name, [*map(prepared, overrides), "output_dir=none"]))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(explain_hydra(error, name)) from error
    if config["resume"] is not None:
        raise RequestError(f"resume={config['resume']}: {program()} goes on with a run; leave it out here")
    return config


@contextmanager
def nested_hydra() -> Iterator[None]:
    """Allows a job to compose a configuration other than its own."""
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)


def prepared(override: str) -> str:
    """Returns the override for Hydra: with current names, the experiment's folder added, and existing paths quoted."""
    return quoted(in_its_folder(current_override(override)))


def in_its_folder(override: str) -> str:
    """Returns `experiment=ablation/length` for `experiment=length`, if that folder of `conf/experiment/` holds it.

    The folders sort the experiments by kind. An experiment is named without its folder; older names that contain the
    folder, such as `ablation_weight` or `paper_7b`, are accepted too.
    """
    key, _, value = override.partition("=")
    if key != "experiment":
        return override
    root = CONF / "experiment"
    folders: dict[str, str] = {}
    for path in root.glob("*/*.yaml"):
        choice = f"{path.parent.name}/{path.stem}"
        folders |= {path.stem: choice, f"{path.parent.name}_{path.stem}": choice}
    return f"{key}=" + ",".join(folders.get(name, name) for name in value.split(","))


def quoted(argument: str) -> str:
    """Quotes the value if it is an existing path, which may hold Hydra's syntax: a sweep's folders have `=` and `,`."""
    key, _, value = argument.partition("=")
    if not PLAIN.fullmatch(value) and os.path.exists(value):  # False also for a value that is too long for a path
        return f"{key}={literal(value)}"
    return argument


def literal(text: str) -> str:
    """Returns a quoted string of Hydra's grammar, in which nothing is read as a list, a sweep or an interpolation."""
    # backslashes escape only before quotes
    text = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + m[2].replace("'", r"\'"), text)
    return "'{}'".format(text.replace("${", r"\${"))
