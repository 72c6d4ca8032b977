"""The student's weights as other programs load them: gathered where processes hold shards, with adapters merged."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from tgpo.options import LoraOptions

BASE, DOWN, UP = ".base_layer.weight", ".lora_A.default.weight", ".lora_B.default.weight"
PREFIX = "base_model.model."  # the start of every name in peft's own files


def add_adapters(model: PreTrainedModel, options: LoraOptions) -> None:
    """Adds low-rank adapters to the linear layers; only the adapters are trained afterwards.

    `W x` becomes `W x + (alpha / rank) B A x` with `B = 0`, so the student starts unchanged. Source: arXiv 2106.09685.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = options.targets if isinstance(options.targets, str) else list(options.targets)
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=targets, task_type="CAUSAL_LM")
    inject_adapter_in_model(config, model)  # also freezes all other weights


def is_adapter(name: str) -> bool:
    return name.endswith((DOWN, UP))


def plain_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yields each weight, adapters merged, under the name that it has in a checkpoint of the model.

    With several processes, all must iterate together: each weight is gathered when it is requested.
    """
    state: dict[str, Tensor] = model.state_dict()
    layers: list[tuple[str, Any]] = [(name, m) for name, m in model.named_modules() if hasattr(m, "lora_A")]
    scales: dict[str, float] = {name: layer.scaling["default"] for name, layer in layers}
    for name, value in state.items():
        if is_adapter(name):
            continue
        layer, weight = name.removesuffix(BASE), full_tensor(value)
        if layer != name:
            weight = weight + scales[layer] * (full_tensor(state[layer + UP]) @ full_tensor(state[layer + DOWN]))
        yield name.replace(".base_layer.", "."), weight


def full_tensor(value: Tensor) -> Tensor:
    value = value.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def adapter_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns the adapters alone, under the names in peft's files. All processes must call it together."""
    adapters = {name: full_tensor(value) for name, value in model.state_dict().items() if is_adapter(name)}
    return {PREFIX + name.replace(".default.", "."): value for name, value in adapters.items()}


def save_adapters(weights: dict[str, Tensor], model: Any, folder: Path, base: str) -> None:
    """Writes a folder that `peft.PeftModel.from_pretrained` loads."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    config.save_pretrained(folder)
    save_file({name: value.cpu().contiguous() for name, value in weights.items()}, folder / "adapter_model.safetensors")


def trained_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns the weights that training changes, under their own names: the adapters if there are any, else all. All
    processes must call it together."""
    state: dict[str, Tensor] = model.state_dict()
    adapters = [name for name in state if is_adapter(name)]
    return {name: full_tensor(state[name]).clone() for name in adapters or state}


def restore_trained(file: Path, model: PreTrainedModel) -> None:
    put_back(load_file(file), model)


def restore_adapters(folder: Path, model: PreTrainedModel) -> None:
    saved = load_file(folder / "adapter_model.safetensors")
    put_back(
        {name.removeprefix(PREFIX).replace(".weight", ".default.weight"): value for name, value in saved.items()}, model
    )


def put_back(weights: dict[str, Any], model: PreTrainedModel) -> None:
    """Puts complete weights into the model, sharded or not; those that are not named stay as they are."""
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, strict=False))


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Leaves the adapters out of the passes made inside, which are then those of the base model.

    The flag is set directly, as peft's own switch would also change which weights are trained. It holds in all threads.
    """
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def head_weight(model: PreTrainedModel, adapters: bool) -> Tensor:
    """Returns the output head's matrix, `[V,H]`, without gradient; its own adapters are merged into it, or left out.

    With several processes, all must call it together.
    """
    head: Any = model.get_output_embeddings()
    if not hasattr(head, "lora_A"):
        return full_tensor(head.weight)
    weight_VH = full_tensor(head.base_layer.weight)
    if adapters:
        up, down = full_tensor(head.lora_B["default"].weight), full_tensor(head.lora_A["default"].weight)
        weight_VH = weight_VH + head.scaling["default"] * (up @ down)
    return weight_VH


def copied(model: PreTrainedModel, share_frozen: bool) -> PreTrainedModel:
    """Returns a copy of the model that is not trained. `share_frozen`: weights that the model does not train, such as
    the base of adapters, are not copied but shared."""
    shared = {id(p): p for p in model.parameters() if not p.requires_grad} if share_frozen else {}
    return copy.deepcopy(model, shared).requires_grad_(False)


def copy_into(model: PreTrainedModel, source: PreTrainedModel) -> None:
    """Copies the weights of `source`, which may be sharded or have adapters, into `model`."""
    own = model.state_dict()
    with torch.no_grad():
        for name, value in plain_weights(source):
            own[name].copy_(value)
