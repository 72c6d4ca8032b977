"""Checkpoints: written aside, then renamed, so that `checkpoints/step-N/` is complete or absent. No pickle.

`model/` loads with `AutoModelForCausalLM`, adapters merged; `adapters/` are they alone, for peft; the optimiser's state
is in `optimizer.safetensors` by parameter name, as torch.distributed.checkpoint gathers it: it does not depend on
the number of processes.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from tgpo.distributed import is_main
from tgpo.errors import RequestError
from tgpo.objectives.base import Objective
from tgpo.policy import Policy
from tgpo.rundir import complete
from tgpo.weights import adapter_weights, plain_weights, restore_adapters, save_adapters

SEPARATOR = "|"  # between a parameter's name and that of its state, as in `model.norm.weight|exp_avg`
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


def save(
    folder: Path,
    step: int,
    policy: Policy,
    tokenizer: Any,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    base: str = "",
) -> Path:
    """Writes `folder/step-N`; a kill at any moment leaves either nothing or all of it.

    Called by every process, since each may hold but a part; the main one writes. `base` is the path of the model that
    adapters belong to.
    """
    target = folder / f"step-{step}"
    adapters = adapter_weights(policy.model)
    # on the way, each process holds one whole weight at a time
    weights = {name: value.cpu() for name, value in plain_weights(policy.model) if is_main()}
    # of an optimiser that has not stepped, torch would make up the state of a first step
    gathered: Any = {"state": {}, "param_groups": []}
    if optimizer.state:
        gathered = get_optimizer_state_dict(policy, optimizer, options=FULL)
    if not is_main():
        return target
    aside = folder / f".step-{step}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    policy.model.save_pretrained(aside / "model", state_dict=weights)
    if adapters:
        save_adapters(adapters, policy.model, aside / "adapters", base)
    tokenizer.save_pretrained(aside / "model")
    tensors = {
        f"{parameter}{SEPARATOR}{name}": value.contiguous()
        for parameter, values in gathered["state"].items()
        for name, value in values.items()
    }
    save_file(tensors, aside / "optimizer.safetensors")
    state = {"step": step, "param_groups": gathered["param_groups"], "objective": objective.state_dict()}
    (aside / "state.json").write_text(json.dumps(state, indent=1))
    for path in [*aside.rglob("*"), aside]:
        sync(path)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)
    sync(folder)
    return target


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and what earlier kills left half-written or half-removed."""
    for path in complete(folder)[:-keep]:
        path.rename(path.with_name(f".{path.name}.removed"))
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def newest(run: Path) -> Path:
    found = complete(run / "checkpoints")
    if not found:
        raise RequestError(f"resume={run}: no complete checkpoint there; start a new run without resume")
    return found[-1]


def restore(path: Path, policy: Policy, optimizer: torch.optim.Optimizer, objective: Objective) -> int:
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
    if by_parameter:
        set_optimizer_state_dict(policy, optimizer, gathered, options=FULL)
    objective.load_state_dict(state["objective"])
    return state["step"]


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
