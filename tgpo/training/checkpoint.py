"""Checkpoints: written under a temporary name, then renamed, so that `checkpoints/step-N/` is complete or absent.

The last file written is `manifest.json` (`tgpo/runs/checksums.py`), by which files that were damaged later are found.

`model/` loads with `AutoModelForCausalLM`, adapters merged; `adapters/` holds the adapters alone, for peft; the
optimiser's state is in `optimizer.safetensors` by parameter name, as torch.distributed.checkpoint gathers it, so that
it does not depend on the number of processes. Nothing is pickled.
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
from tgpo.models.weights import (
    adapter_weights,
    plain_weights,
    restore_adapters,
    restore_trained,
    save_adapters,
    trained_weights,
)
from tgpo.objectives.base import Objective
from tgpo.runs import checksums
from tgpo.runs.directory import complete, step_of
from tgpo.runtime.torchrun import is_main
from tgpo.teachers.student import MovingAverage

AVERAGE = "average.safetensors"  # the average of the student's trained weights that teaches it
SEPARATOR = "|"  # between the name of a parameter and the name of its state, as in `model.norm.weight|exp_avg`
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
REQUEST_OPTIONS = ("lr", "betas", "weight_decay")  # a resumed run takes these from its request, not the checkpoint


@dataclass(frozen=True)
class State:
    """The parts of a run that a checkpoint holds.

    `base_model` is the path of the model that adapters belong to; `skipped_in_a_row` is the number of consecutive
    steps, up to the last one, without a finite update.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    objective: Objective
    tokenizer: Any
    average: MovingAverage | None = None
    base_model: str = ""
    skipped_in_a_row: int = 0


class Restored(NamedTuple):
    step: int
    skipped_in_a_row: int


def save(folder: Path, step: int, state: State) -> Path:
    """Writes `folder/step-N` atomically: a kill at any moment leaves either nothing or the complete checkpoint.

    Called by every process, since each may hold only a part of the weights; the main process writes.
    """
    target = folder / f"step-{step}"
    model = state.policy.model
    adapters = adapter_weights(model)
    # while weights are gathered, each process holds one complete weight at a time
    weights = {name: value.cpu() for name, value in plain_weights(model) if is_main()}
    averaged = {} if state.average is None else trained_weights(state.average.policy.model)
    # for an optimiser that has not stepped, torch would invent the state of a first step
    gathered: Any = {"state": {}, "param_groups": []}
    if state.optimizer.state:
        gathered = get_optimizer_state_dict(state.policy, state.optimizer, options=FULL)
    if not is_main():
        return target
    partial = folder / f".step-{step}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial / "model", state_dict=weights)
    if adapters:
        save_adapters(adapters, model, partial / "adapters", state.base_model)
    state.tokenizer.save_pretrained(partial / "model")
    if averaged:
        save_file({name: value.cpu().contiguous() for name, value in averaged.items()}, partial / AVERAGE)
    save_file(flat_optimizer_state(gathered), partial / "optimizer.safetensors")
    record = {
        "step": step,
        "param_groups": gathered["param_groups"],
        "objective": state.objective.state_dict(),
        "bad_steps": state.skipped_in_a_row,  # the key that earlier versions wrote
        checksums.MARK: True,
    }
    (partial / "state.json").write_text(json.dumps(record, indent=1))
    checksums.write(partial)
    for path in [*partial.rglob("*"), partial]:
        sync(path)
    make_way(target)
    os.replace(partial, target)
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
    """Frees a checkpoint's name by a rename, so that nothing half-deleted is ever left under that name."""
    if not path.is_symlink() and not path.exists():
        return
    removed = path.with_name(f".{path.name}.removed")
    if removed.is_dir():
        shutil.rmtree(removed)
    path.rename(removed)


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and the partial ones that earlier kills left behind."""
    for path in complete(folder)[:-keep]:
        make_way(path)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def drop_after(folder: Path, step: int) -> None:
    """Removes the checkpoints after `step`: a resumed run found them damaged and will write those steps again."""
    for path in complete(folder):
        if step_of(path) > step:
            make_way(path)


def restore(
    path: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    average: MovingAverage | None = None,
) -> Restored:
    """Restores the state of the optimiser and of the objective, and the adapters; returns the step.

    Without adapters the weights are already there: the model was loaded from the checkpoint.
    """
    if (path / "adapters").is_dir():
        restore_adapters(path / "adapters", policy.model)
    if average is not None:
        restore_trained(path / AVERAGE, average.policy.model)
    state = json.loads((path / "state.json").read_text())
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path / "optimizer.safetensors").items():
        parameter, name = key.split(SEPARATOR)
        by_parameter.setdefault(parameter, {})[name] = value
    gathered: Any = {"state": by_parameter, "param_groups": state["param_groups"]}
    requested = [{name: group[name] for name in REQUEST_OPTIONS} for group in optimizer.param_groups]
    if by_parameter:
        set_optimizer_state_dict(policy, optimizer, gathered, options=FULL)
    for group, options in zip(optimizer.param_groups, requested, strict=True):
        group.update(options)
    objective.load_state_dict(state["objective"])
    return Restored(state["step"], state.get("bad_steps", 0))


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
