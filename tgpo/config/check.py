"""The configuration, checked: every option typed and bounded before a model is loaded."""

from __future__ import annotations

from dataclasses import fields
from functools import reduce
from operator import getitem
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

import tgpo.config.folders  # noqa: F401  the resolvers that a configuration is resolved with
from tgpo.config.messages import explain_validation, option_names
from tgpo.config.request import Request
from tgpo.errors import RequestError, first_line
from tgpo.options import RunOptions


def check(config: DictConfig | dict[str, Any]) -> Request:
    """Types, ranges and names; raises RequestError with one line for the first thing that is wrong."""
    resolved = to_container(config) if isinstance(config, DictConfig) else dict(config)
    try:
        options = RunOptions.model_validate(resolved)
    except ValidationError as error:
        raise RequestError(explain_validation(error, option_names(RunOptions), "")) from error
    objective, task = instantiate_section(resolved, "objective"), instantiate_section(resolved, "task")
    # what a null stands for is written out: the record of a run says what ran
    resolved["objective"] = {"_target_": resolved["objective"]["_target_"], **settings(objective)}
    benchmarks = tuple(instantiate_section(resolved, f"eval.benchmarks.{name}") for name in options.eval.benchmarks)
    return Request(options, objective, task, resolved, benchmarks)


def to_container(config: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"the configuration does not resolve: {first_line(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def instantiate_section(resolved: dict[str, Any], section: str) -> Any:
    """The object a (dotted) section's `_target_` names, its mistakes told in the terms of the command line."""
    node = reduce(getitem, section.split("."), resolved)
    check_target(node, section)
    try:
        return instantiate(node, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            names = [f"{section}.{field.name}" for field in fields(get_class(node["_target_"]))]
            raise RequestError(explain_validation(cause, names, f"{section}.")) from error
        raise RequestError(f"{section}: {first_line(cause)}") from error


def check_target(node: Any, section: str) -> None:
    """A class of this package and no other: a configuration that came with a run could call anything."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise RequestError(f"{section}={node}: it is a section; choose one by name, and give its options one by one")
    if any(isinstance(value, dict | list) and "_target_" in str(value) for value in node.values()):
        raise RequestError(f"{section}: an option of it names something to call (_target_), which is refused")
    target = str(node["_target_"])
    try:
        ours = target.startswith("tgpo.") and get_class(target).__module__.startswith("tgpo.")
    except Exception:  # noqa: BLE001  whatever there is in the way of importing it
        ours = False
    if not ours:
        raise RequestError(f"{section}._target_={target}: no class of tgpo; a new one is a file below tgpo/")


def settings(objective: Any) -> dict[str, Any]:
    """The objective's options as plain values, every one of them."""
    values = TypeAdapter(type(objective)).dump_python(objective, mode="json")
    return {f.name: values[f.name] for f in fields(objective) if f.init}
