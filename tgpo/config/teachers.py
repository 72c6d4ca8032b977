"""The teachers of a configuration: the section `teacher`, or the ones that `teachers` names, which begin with its
options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tgpo.config.messages import explain_validation, option_names
from tgpo.errors import RequestError, did_you_mean
from tgpo.options import RunOptions, TeacherOptions

ONE = "teacher"  # the section of a teacher that is the only one
OF_ALL = ("name", "route")  # options of this section that one of several does not have for itself

Sections = dict[str, dict[str, Any]]


def teacher_sections(resolved: Mapping[str, Any], options: RunOptions) -> Sections:
    """Returns the complete section of each teacher by where its options are, `teacher` or `teachers.NAME`.

    Empty for `teacher=none`. Raises RequestError for what is wrong with a teacher's name or an option's.
    """
    base = dict(resolved[ONE])
    if not options.teachers:
        if options.teacher.path is None:
            return {}
        return {ONE: with_the_students_weights(base, options) | self_named(base)}
    sections = Sections()
    for name, own in options.teachers.items():
        key = f"teachers.{name}"
        check_names(key, name, own)
        whole = base | {"route": None} | dict(own) | {"name": name}
        sections[key] = with_the_students_weights(whole, options)
    return sections


def check_names(key: str, name: str, own: Any) -> None:
    if not re.fullmatch(r"\w[\w-]*", name):
        raise RequestError(f"teachers: '{name}' is no name for a teacher; use letters, digits, _ and -")
    if not isinstance(own, Mapping):
        raise RequestError(f"{key}={own}: it is a section; give its options one by one, as in {key}.path=PATH")
    known = [f"{key}.{option}" for option in option_names(TeacherOptions) if option not in OF_ALL]
    for option in sorted(own):
        if f"{key}.{option}" not in known:
            raise RequestError(f"'{key}.{option}' is not an option{did_you_mean(f'{key}.{option}', known)}")


def with_the_students_weights(section: dict[str, Any], options: RunOptions) -> dict[str, Any]:
    """Returns the section with the student's path if it has weights of the student's own, so that everything that reads
    or checks the teacher's files finds them."""
    if not is_self(section):
        return section
    student = options.student
    same = {"path": student.path, "revision": student.revision, "config": student.config}
    return section | same | {"extra_tokens": "refuse", "other_eos": "refuse"}


def self_named(section: Mapping[str, Any]) -> dict[str, str]:
    """Returns the name of a teacher that is the student itself, after its weights and the text that it reads."""
    if not is_self(section):
        return {}
    reads = str(section["context"].get("_target_")).split(".")[-2]
    return {"name": f"self-{section['weights']}" + ("" if reads == "none" else f"-{reads}")}


def is_self(section: Mapping[str, Any]) -> bool:
    return section.get("weights", "model") != "model"


def check_teachers(sections: Sections, options: RunOptions) -> dict[str, TeacherOptions]:
    """Returns the checked options of each teacher; raises RequestError for the first wrong value."""
    checked = {}
    for key, section in sections.items():
        try:
            checked[key] = TeacherOptions.model_validate(section)
        except ValidationError as error:
            raise RequestError(explain_validation(error, option_names(TeacherOptions, f"{key}."), f"{key}.")) from error
    for key, teacher in checked.items():
        if teacher.path is None:
            raise RequestError(f"{key}.path=None: a teacher that is named needs weights; give a path, or leave it out")
        if teacher.backend == "vllm" and options.train.dtype == "float64":
            raise RequestError(f"train.dtype=float64 is not a type vLLM knows; use rollout=hf and {key}.backend=hf")
    decays = {key: teacher.decay for key, teacher in checked.items() if teacher.weights == "ema"}
    if len(set(decays.values())) > 1:
        listed = ", ".join(f"{key}.decay={decay:g}" for key, decay in decays.items())
        raise RequestError(f"{listed}: a run keeps one moving average of the student; give them the same decay")
    return checked
