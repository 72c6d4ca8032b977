"""Checkpoints: written aside, then renamed, so that `checkpoints/step-N/` is complete or absent. No pickle.

The last file written is `manifest.json` (`tgpo/runs/checksums.py`): what was damaged since is found by it.

`model/` loads with `AutoModelForCausalLM`, adapters merged; `adapters/` are they alone, for peft; the optimiser's state
is in `optimizer.safetensors` by parameter name, as torch.distributed.checkpoint gathers it: it does not depend on
the number of processes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from tgpo.models.policy import Policy
from tgpo.models.weights import adapter_weights, plain_weights, restore_adapters, save_adapters
from tgpo.objectives.base import Objective
from tgpo.runs import checksums
from tgpo.runs.directory import complete, step_of
from tgpo.runtime.torchrun import is_main

SEPARATOR = "|"  # between a parameter's name and that of its state, as in `model.norm.weight|exp_avg`
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
OF_THE_REQUEST = ("lr", "betas", "weight_decay")  # of the optimiser's options; a resumed run may be given others


@dataclass(frozen=True)
class State:
    """What a checkpoint holds of a run.

    `base_model` is the path of the model that adapters belong to, `skipped_in_a_row` how many of the last steps had no
    finite update.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    objective: Objective
    tokenizer: Any
    base_model: str = ""
    skipped_in_a_row: int = 0


class Restored(NamedTuple):
    step: int
    skipped_in_a_row: int


def save(folder: Path, step: int, state: State) -> Path:
    """Writes `folder/step-N`; a kill at any moment leaves either nothing or all of it.

    Called by every process, since each may hold but a part of the weights; the main one writes.
    """
    target = folder / f"step-{step}"
    model = state.policy.model
    adapters = adapter_weights(model)
    # on the way, each process holds one whole weight at a time
    weights = {name: value.cpu() for name, value in plain_weights(model) if is_main()}
    # of an optimiser that has not stepped, torch would make up the state of a first step
    gathered: Any = {"state": {}, "param_groups": []}
    if state.optimizer.state:
        gathered = get_optimizer_state_dict(state.policy, state.optimizer, options=FULL)
    if not is_main():
        return target
    aside = folder / f".step-{step}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    model.save_pretrained(aside / "model", state_dict=weights)
    if adapters:
        save_adapters(adapters, model, aside / "adapters", state.base_model)
    state.tokenizer.save_pretrained(aside / "model")
    save_file(flat_optimizer_state(gathered), aside / "optimizer.safetensors")
    record = {
        "step": step,
        "param_groups": gathered["param_groups"],
        "objective": state.objective.state_dict(),
        "bad_steps": state.skipped_in_a_row,  # as runs of before named it
        checksums.MARK: True,
    }
    (aside / "state.json").write_text(json.dumps(record, indent=1))
    checksums.write(aside)
    for path in [*aside.rglob("*"), aside]:
        sync(path)
    make_way(target)
    os.replace(aside, target)
    for path in (folder, folder.parent):
        sync(path)
    return target


def flat_optimizer_state(gathered: dict[str, Any]) -> dict[str, Tensor]:
    return {
        f"{parameter}{SEPARATOR}{name}": value.contiguous()
        for parameter, values in gathered["state"].items()
        for name, value in values.items()
    }


def make_way(path: Path) -> None:
    """Takes away what has a checkpoint's name: by a rename, so that no half of it is ever left under that name."""
    if not path.is_symlink() and not path.exists():
        return
    aside = path.with_name(f".{path.name}.removed")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.rename(aside)


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and what earlier kills left half-written or half-removed."""
    for path in complete(folder)[:-keep]:
        make_way(path)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def drop_after(folder: Path, step: int) -> None:
    """Takes away the checkpoints that a resumed run does not go on from, being damaged: it writes those steps again."""
    for path in complete(folder):
        if step_of(path) > step:
            make_way(path)


def restore(path: Path, policy: Policy, optimizer: torch.optim.Optimizer, objective: Objective) -> Restored:
    """Puts back the optimiser's and the objective's state and the adapters, and returns the step.

    Without adapters the weights come with the model, which is loaded from the checkpoint.
    """
    if (path / "adapters").is_dir():
        restore_adapters(path / "adapters", policy.model)
    state = json.loads((path / "state.json").read_text())
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path / "optimizer.safetensors").items():
        parameter, name = key.split(SEPARATOR)
        by_parameter.setdefault(parameter, {})[name] = value
    gathered: Any = {"state": by_parameter, "param_groups": state["param_groups"]}
    asked = [{name: group[name] for name in OF_THE_REQUEST} for group in optimizer.param_groups]
    if by_parameter:
        set_optimizer_state_dict(policy, optimizer, gathered, options=FULL)
    for group, options in zip(optimizer.param_groups, asked, strict=True):
        group.update(options)
    objective.load_state_dict(state["objective"])
    return Restored(state["step"], state.get("bad_steps", 0))


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
