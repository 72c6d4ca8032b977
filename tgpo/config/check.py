"""Checks the configuration: the type and range of every option, before a model is loaded."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import fields
from functools import reduce
from operator import getitem
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

import tgpo.config.folders  # noqa: F401  registers the resolvers that configurations use
from tgpo.config.messages import explain_validation, option_names
from tgpo.config.request import Request, TeacherRequest
from tgpo.config.teachers import ONE, check_teachers, teacher_sections
from tgpo.contexts.prompts import AS_THE_STUDENT, OWN
from tgpo.errors import RequestError, first_line
from tgpo.models.loading import asks_for_the_time
from tgpo.options import RunOptions, TeacherOptions


def check(config: DictConfig | dict[str, Any], today: str | None = None) -> Request:
    """Returns the checked request; raises RequestError with one line for the first wrong name, type or value.

    `today` is the date for a chat template that asks for it; None for the clock's.
    """
    resolved = to_container(config) if isinstance(config, DictConfig) else dict(config)
    try:
        options = RunOptions.model_validate(resolved)
        resolved["teacher"].setdefault("context", options.teacher.context)  # absent in runs made before it existed
        sections = teacher_sections(resolved, options)
        resolved[ONE] = sections.get(ONE) or resolved[ONE] | as_a_whole(options)
        options, teachers = RunOptions.model_validate(resolved), check_teachers(sections, options)
        if needs_date(options, teachers.values()):
            resolved["student"] = resolved["student"] | {"date": today or datetime.date.today().isoformat()}
            options = RunOptions.model_validate(resolved)
    except ValidationError as error:
        raise RequestError(explain_validation(error, option_names(RunOptions), "")) from error
    objective, task = instantiate_section(resolved, "objective"), instantiate_section(resolved, "task")
    contexts = {key: context_of(resolved, key) for key in teachers}
    # each null is replaced by the value that it stands for, so that the run's record says what was used
    resolved["objective"] = {"_target_": resolved["objective"]["_target_"], **settings(objective)}
    benchmarks = tuple(instantiate_section(resolved, f"eval.benchmarks.{name}") for name in options.eval.benchmarks)
    requested = tuple(TeacherRequest(key, teachers[key], contexts[key]) for key in teachers)
    return Request(options, objective, task, requested, resolved, benchmarks)


def as_a_whole(options: RunOptions) -> dict[str, str]:
    """Returns what the record of a run with several teachers says in the place of one's name."""
    return {"name": "+".join(options.teachers)} if options.teachers else {}


def context_of(resolved: dict[str, Any], key: str) -> Any:
    """Returns the context of the teacher whose options are at `key`: its own, or that of the section `teacher`."""
    own = key != ONE and "context" in resolved["teachers"][key.partition(".")[2]]
    return instantiate_section(resolved, f"{key if own else ONE}.context")


def needs_date(options: RunOptions, teachers: Iterable[TeacherOptions]) -> bool:
    """Returns whether prompts depend on the date and none is given; False if the model is not on this machine."""
    student = options.student
    templates = [(student.path, student.revision, student.chat_template)]
    for teacher in teachers:
        if teacher.chat_template != AS_THE_STUDENT and teacher.local_path is not None:
            named = None if teacher.chat_template == OWN else teacher.chat_template
            templates.append((teacher.local_path, teacher.revision, named))
    try:
        return student.date is None and any(asks_for_the_time(*template) for template in templates)
    except (RequestError, OSError, UnicodeDecodeError):
        return False  # the preflight says what is wrong with the path or the template


def to_container(config: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"the configuration does not resolve: {first_line(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def instantiate_section(resolved: dict[str, Any], section: str) -> Any:
    """Returns the object that a (dotted) section's `_target_` names; errors are in terms of the command line."""
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
    """Raises RequestError unless the section names a class of this package: a configuration that comes with a run could
    otherwise call anything."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise RequestError(f"{section}={node}: it is a section; choose one by name, and give its options one by one")
    if any(isinstance(value, dict | list) and "_target_" in str(value) for value in node.values()):
        raise RequestError(f"{section}: an option of it names something to call (_target_), which is refused")
    target = str(node["_target_"])
    try:
        is_own = target.startswith("tgpo.") and get_class(target).__module__.startswith("tgpo.")
    except Exception:  # noqa: BLE001  importing it can raise any error
        is_own = False
    if not is_own:
        raise RequestError(f"{section}._target_={target}: no class of tgpo; a new one is a file below tgpo/")


def settings(objective: Any) -> dict[str, Any]:
    """Returns all options of the objective as plain values."""
    values = TypeAdapter(type(objective)).dump_python(objective, mode="json")
    return {f.name: values[f.name] for f in fields(objective) if f.init}
