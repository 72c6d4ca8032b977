"""The section as conf/divergence.yaml has it, with changes."""

from __future__ import annotations

from typing import Any

import yaml

from tests.compose import CONF
from tgpo.divergence.request import DivergenceOptions, check_options


def defaults() -> dict[str, Any]:
    section = yaml.safe_load((CONF / "divergence.yaml").read_text())["divergence"]
    return {**section, "output_dir": "unused"}


def options(**changes: Any) -> DivergenceOptions:
    return check_options(defaults() | changes)
