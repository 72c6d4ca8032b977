"""Composes a configuration from overrides, in a command that is not Hydra's or inside the job that Hydra runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from tgpo.config import CONF
from tgpo.config.check import check, to_container
from tgpo.config.messages import explain_hydra, literal
from tgpo.config.request import Request
from tgpo.errors import RequestError, program
from tgpo.runs.keys import OF_THE_SWEEP, current_override, option_of

PLAIN = re.compile(r"[\w./:+-]*", re.ASCII)  # values that Hydra's grammar reads without quotes

# Registered here and not beside the class: Hydra finds the plugin only if the program is started in the folder of
# run.py, but modules are run from any folder.
SWEEPER = {"_target_": "hydra_plugins.tgpo_sweeper.TGPOSweeper", "max_batch_size": None, "params": None, "arms": None}
ConfigStore.instance().store(group="hydra/sweeper", name="tgpo", node=SWEEPER, provider="tgpo")


def request_from(overrides: Sequence[str]) -> Request:
    """Returns the checked request of a program that takes the options of `run.py`."""
    config, choices = composed_with_choices("config", overrides)
    record_choices(config, choices, overrides)
    return check(config)


def request_of(command: str, overrides: Sequence[str]) -> tuple[Request, dict[str, Any]]:
    """Returns the checked request of a command with options of its own, and the section COMMAND with those options,
    which `conf/COMMAND.yaml` adds."""
    resolved = composed(command, overrides)
    own = resolved.pop(command)
    return check(resolved), own


def composed(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    return composed_with_choices(name, overrides)[0]


def composed_with_choices(name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Returns the resolved configuration, and the choice of each of Hydra's groups."""
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = compose(name, [*map(prepared, overrides), "output_dir=none"], return_hydra_config=True)
        with open_dict(config):
            hydra = config.pop("hydra")
        resolved = to_container(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RequestError(explain_hydra(error, name)) from error
    if resolved["resume"] is not None:
        raise RequestError(f"resume={resolved['resume']}: {program()} goes on with a run; leave it out here")
    return resolved, dict(hydra.runtime.choices)


def record_choices(
    config: MutableMapping[Any, Any], choices: Mapping[str, str | None], overrides: Sequence[str]
) -> None:
    """Records in a run's configuration what was chosen and typed; removes the options of a sweep, which are not its."""
    config["choices"] = {g: c for g, c in choices.items() if not g.startswith("hydra/") and g not in OF_THE_SWEEP}
    config["overrides"] = [override for override in overrides if option_of(override) not in OF_THE_SWEEP]
    for key in OF_THE_SWEEP:
        config.pop(key, None)


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
    """Returns the override for Hydra: with current names, the names of Hydra's groups, and existing paths quoted."""
    return quoted(in_its_group(current_override(override)))


def in_its_group(override: str) -> str:
    """Returns the override as Hydra's groups are named: `experiment=ablation/length` for `experiment=length`, and
    `teacher/context=hint` for `teacher.context=hint`, which reads like the option that it is. Options of a teacher that
    `teachers` names are added, as none of them is there before.

    The folders of `conf/experiment/` sort the experiments by kind. An experiment is named without its folder; older
    names that contain the folder, such as `ablation_weight` or `paper_7b`, are accepted too.
    """
    key, _, value = override.partition("=")
    if key == "teacher.context" and re.fullmatch(r"[\w,]+", value):
        return f"teacher/context={value}"
    if named := re.fullmatch(r"\+*(teachers\.[^.]+)\.(.+)", key):
        if named[2] == "context" and re.fullmatch(r"\w+", value):
            return f"+teacher/context@{named[1]}.context={value}"
        return f"++{key.lstrip('+')}={value}"
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
