"""The configuration composed from overrides, by a command of its own or beside the job that Hydra runs."""

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
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            found = to_container(compose(name, [*map(prepared, overrides), "output_dir=none"]))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(explain_hydra(error, name)) from error
    if found["resume"] is not None:
        raise RequestError(f"resume={found['resume']}: {program()} goes on with a run; leave it out here")
    return found


@contextmanager
def nested_hydra() -> Iterator[None]:
    """Lets a job compose another configuration than its own."""
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)


def prepared(override: str) -> str:
    """The override as Hydra is to read it: today's names, an experiment's folder added, an existing path quoted."""
    return quoted(in_its_folder(current_override(override)))


def in_its_folder(override: str) -> str:
    """`experiment=length` becomes `experiment=ablation/length`, where that folder of `conf/experiment/` holds it.

    The folders sort the experiments by kind; an experiment is named without its folder, or, where that is part of an
    older name, as `ablation_weight` or `paper_7b`.
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
    """A path that exists is taken as it is, whatever is in it: the folders of a sweep's runs have `=` and `,`."""
    key, _, value = argument.partition("=")
    if not PLAIN.fullmatch(value) and os.path.exists(value):  # false of what is too long for a path, too
        return f"{key}={literal(value)}"
    return argument


def literal(text: str) -> str:
    """As Hydra's grammar reads a string: nothing in it is a list, a sweep or an interpolation."""
    text = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + m[2].replace("'", r"\'"), text)  # backslashes count before quotes
    return "'{}'".format(text.replace("${", r"\${"))
