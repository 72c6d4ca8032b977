"""Explains errors of Hydra and pydantic in one line each, with the nearest name that exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from tgpo.config import CONF
from tgpo.errors import RequestError, did_you_mean, program, without_credentials

KEY = re.compile(r"[+~]{0,2}[\w/@.-]+", re.ASCII)
DOUBLE = '"'
LAUNCHERS = {  # Hydra's name: our name, and the package that provides it
    "joblib": ("local", "hydra-joblib-launcher>=1.2"),
    "submitit_slurm": ("slurm", "hydra-submitit-launcher>=1.2"),
    "ray": ("ray", "hydra-ray-launcher>=1.2.2"),
}


def explain_hydra(error: Exception, name: str = "config") -> str:
    """Returns Hydra's message in one line, with the nearest name that exists in `conf/NAME.yaml`."""
    text = str(error)
    if request_error := next((cause for cause in causes(error) if isinstance(cause, RequestError)), None):
        return str(request_error)  # raised by a resolver; OmegaConf has wrapped it in an error of its own
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename}: {str(error.strerror).lower()}; give a folder that can be written"
    if text.startswith("Config group override must be"):
        return f"a group of the configuration takes the name of a choice; {program()} --help lists them"
    if isinstance(error, OverrideParseException):
        return explain_override(str(error.override))
    if (match := re.search(r"Could not find 'hydra/launcher/(\w+)'", text)) and match[1] in LAUNCHERS:
        return "launcher={} is not installed; pip install '{}'".format(*LAUNCHERS[match[1]])
    if isinstance(error, MissingConfigException) and (match := re.search(r"Could not find '([^']+)'", text)):
        group, _, choice = match[1].rpartition("/")
        return f"{group}={choice}: no such choice{did_you_mean(choice, choices(group))}"
    if match := re.search(r"Could not override '([^']+)'", text):
        names = known_names(name)
        if match[1] in names:
            return f"'{match[1]}' takes no mapping; give its options one by one, or the name of a choice"
        return f"'{match[1]}' is not an option{did_you_mean(match[1], names)}"
    return " ".join(text.split())


def explain_override(override: str) -> str:
    """Returns why Hydra does not read an override. If it is a key and a value, the value is text with characters of
    Hydra's grammar, and the message says what to type."""
    key, sign, value = override.partition("=")
    if not KEY.fullmatch(key) or not sign or value.startswith("="):
        return f"'{override}' is not of the form key=value"
    typed = shlex.quote(f"{key}={literal(value, DOUBLE)}")  # single quotes are the shell's
    return f"{key}: its value has characters that Hydra reads as its own grammar; if it is text, type {typed}"


def literal(text: str, quote: str = "'") -> str:
    """Returns a quoted string of Hydra's grammar, in which nothing is read as a list, a sweep or an interpolation."""
    # backslashes escape only before quotes
    text = re.sub(rf"(\\*)({quote}|$)", lambda m: 2 * m[1] + m[2].replace(quote, f"\\{quote}"), text)
    return quote + text.replace("${", r"\${") + quote


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def choices(group: str) -> list[str]:
    """Returns the names of a group's choices. Experiments are in subfolders, but named without them."""
    return [path.stem for path in (CONF / group).glob("**/*.yaml" if group == "experiment" else "*.yaml")]


def known_names(name: str) -> list[str]:
    """Returns every group and key of the configuration `name`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = OmegaConf.to_container(compose(name))
    return [path.name for path in CONF.iterdir() if path.is_dir()] + key_names(config)


def key_names(node: object, prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items() if isinstance(node, dict) else ():
        names += [prefix + str(key), *key_names(value, f"{prefix}{key}.")]
    return names


def explain_validation(error: ValidationError, names: list[str], prefix: str) -> str:
    """Returns the first error in one line, such as `train.steps=0: input should be greater than or equal to 1`."""
    first = error.errors()[0]
    # without list indices (the message prints the complete list) and the type that pydantic tried last of several
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
        of_an_option = re.match(r"\w+=", message)
        return prefix + message if of_an_option or not prefix else f"{prefix.removesuffix('.')}: {message}"
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # about several options of a section
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
