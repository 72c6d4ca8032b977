"""The command: compose the configuration, check it, run it. `python run.py --help` lists what can be composed."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig, OmegaConf

from tgpo import command
from tgpo.config import run_directory

OmegaConf.register_new_resolver("run_directory", run_directory)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> object:
    return command.run_job(config)


if __name__ == "__main__":
    command.guard(main)
