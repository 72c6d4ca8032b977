"""The configuration, checked: every option typed and bounded before anything heavy is imported."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, fields
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    TypeAdapter,
    ValidationError,
)

from tgpo.errors import RequestError, did_you_mean, without_credentials
from tgpo.options import RunOptions

LONGEST_NAME = 160  # bytes of a folder's name that is made of overrides; file systems take 255


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request: the options, and the two parts that are built straight from the configuration.

    One is equal to itself alone, so that what is measured of it can be kept beside it.
    """

    options: RunOptions
    objective: Any
    task: Any
    resolved: dict[str, Any]
    benchmarks: tuple[Any, ...] = ()


def check(config: DictConfig | dict[str, Any]) -> Request:
    """Types, ranges and names; raises RequestError with one line for the first thing that is wrong."""
    resolved = to_container(config) if isinstance(config, DictConfig) else dict(config)
    try:
        options = RunOptions.model_validate(resolved)
    except ValidationError as error:
        raise RequestError(explain(error, option_names(RunOptions), "")) from error
    objective, task = build(resolved, "objective"), build(resolved, "task")
    # what a null stands for is written out: the record of a run says what ran
    resolved["objective"] = {"_target_": resolved["objective"]["_target_"], **settings(objective)}
    benchmarks = tuple(build(resolved, f"eval.benchmarks.{name}") for name in options.eval.benchmarks)
    return Request(options, objective, task, resolved, benchmarks)


def to_container(config: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"the configuration does not resolve: {first_line(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def build(resolved: dict[str, Any], section: str) -> Any:
    """The object a (dotted) section's `_target_` names, its mistakes told in the terms of the command line."""
    node = reduce(getitem, section.split("."), resolved)
    check_target(node, section)
    try:
        return instantiate(node, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            names = [f"{section}.{field.name}" for field in fields(get_class(node["_target_"]))]
            raise RequestError(explain(cause, names, f"{section}.")) from error
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


def explain(error: ValidationError, names: list[str], prefix: str) -> str:
    """The first mistake, as `train.steps=0: input should be greater than or equal to 1`."""
    first = error.errors()[0]
    # an index is shown with its whole list, and which of several types was tried last is not shown
    path = [part for part in first["loc"] if isinstance(part, str) and "[" not in part]
    key = prefix + ".".join(path)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"'{key}' is not an option{did_you_mean(key, names)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "too few entries"
        if isinstance(first["loc"][-1], str):
            return f"{key} is required and was taken away"
    if first["type"] == "secret" or key == "server.key_variable":
        return f"{key}: {message}" if first["type"] == "secret" else f"{key}: the name of a variable, in capitals"
    if not path:
        return prefix.removesuffix(".") + (": " if prefix else "") + message
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # of a section's options together
        return f"{key}.{message}"
    return f"{key}={without_credentials(str(first['input']))}: {message[0].lower()}{message[1:]}"


def option_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += option_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def run_directory(resume: Any, output_dir: Any) -> str:
    """The OmegaConf resolver behind `hydra.run.dir`: a resumed run goes on in its own directory."""
    named, given = ("output_dir", output_dir) if resume is None else ("resume", resume)
    if not isinstance(given, str) or not given:
        raise RequestError(f"{named}={given}: give a folder")
    if resume is not None and not (Path(given) / "config.yaml").is_file():
        raise RequestError(f"resume={given}: no run there (no config.yaml)")
    first_missing(os.path.abspath(given))
    return str(Path(given))


@cache
def first_missing(folder: str) -> str | None:
    """The outermost folder of a path that is not there when this is first asked: what Hydra makes, and what a request
    that is refused takes away again. None where all of it is there."""
    path = Path(folder)
    missing = [str(p) for p in (path, *path.parents) if not p.exists()]
    return missing[-1] if missing else None


def folder_name(text: str) -> str:
    """The OmegaConf resolver behind folders that overrides name: one folder, whatever is in them, and not too long."""
    name = re.sub(r"[/\\\x00-\x1f]", "_", str(text)).replace("..", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{zlib.crc32(name.encode()):08x}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
