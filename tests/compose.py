"""Composes configurations as the command does, without running anything."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tgpo.config import run_directory

CONF = Path(__file__).parents[1] / "conf"
OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=list(overrides))


def group_choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
