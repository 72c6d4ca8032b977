"""Every objective with a yaml, and every variant its yaml documents (`# variant: key=value ...`)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from hydra.utils import instantiate

from tests.compose import CONF, composed, group_choices

VARIANTS = [
    " ".join([name, *options.split()])
    for name in group_choices("objective")
    for options in ["", *re.findall(r"^# variant: (.+)$", (CONF / "objective" / f"{name}.yaml").read_text(), re.M)]
]


@cache
def build(variant: str) -> Any:
    """The objective as the command composes it."""
    name, *options = variant.split()
    return instantiate(
        composed(f"objective={name}", *(f"objective.{option}" for option in options)).objective, _convert_="all"
    )


def own_test(variant: str) -> ModuleType:
    """The objective's own test, which says what it claims."""
    return importlib.import_module(f"tests.objectives.test_{variant.split()[0]}")


def those(condition: Callable[[Any], bool]) -> list[str]:
    """The variants whose objective meets the condition."""
    return [variant for variant in VARIANTS if condition(build(variant))]
