"""Composes configurations as the command does, without running anything."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tgpo.config.compose import prepared
from tgpo.config.messages import choices

CONF = Path(__file__).parents[1] / "conf"


def composed(*overrides: str) -> DictConfig:
    """A copy of its own: Hydra takes a tenth of a second, and hundreds of tests ask for the same."""
    return copy.deepcopy(composed_once(overrides))


@lru_cache
def composed_once(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", list(map(prepared, overrides)))


def group_choices(group: str) -> list[str]:
    return sorted(choices(group))
