"""The memory formula against what torch keeps, and the models' sizes against their cards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

from tests.conftest import ROOT
from tgpo.preflight.memory import arithmetic, layer_bytes, passing, permanent, shape_of
from tgpo.preflight.scaling import engine_table, memory_table, paper_plan, published, time_table

TOKENS = 517
SHAPES = [(64, 96, 2, 1, 32), (96, 160, 4, 2, 48), (160, 352, 8, 4, 16)]  # hidden, inner, heads, of keys, width
DENSE = {"float32": (24, 16, 16), "bfloat16": (26, 10, 8)}


def model_of(kind, hidden, inner, heads, keys, width, layers):
    torch.manual_seed(0)
    config = kind(
        vocab_size=64, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, head_dim=width,
        num_attention_heads=heads, num_key_value_heads=keys, max_position_embeddings=1024,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def kept(model, dtype: str) -> int:
    """Bytes that a forward pass keeps for the backward one; weights, and copies of weights, left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape[::-1]) for p in model.parameters()}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=dtype == "bfloat16"):
        model.model(torch.randint(0, 64, (1, TOKENS)), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


def a_layer(kind, shape, dtype, prepare=lambda model: None) -> float:
    """Of one token in one layer: what two more layers keep."""
    models = [model_of(kind, *shape, layers) for layers in (1, 3)]
    for model in models:
        prepare(model)
    one, three = (kept(model, dtype) for model in models)
    return (three - one) / 2 / TOKENS


@pytest.mark.parametrize("dtype", DENSE)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_layer_keeps(shape, dtype):
    """Within 2 %: the heads' statistics, a few bytes each, are left out. Qwen2 has no norms of queries and keys."""
    expected = layer_bytes(shape_of(model_of(Qwen3Config, *shape, 1).config), dtype)
    assert a_layer(Qwen3Config, shape, dtype) == pytest.approx(expected, rel=0.02)
    assert 0.7 * expected < a_layer(Qwen2Config, shape, dtype) < expected


def test_what_a_checkpointed_layer_keeps():
    """The float32 residual that enters it."""

    def checkpointing(model):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()

    assert a_layer(Qwen3Config, SHAPES[0], "bfloat16", checkpointing) == 4 * SHAPES[0][0]


@pytest.mark.parametrize(
    ("name", "parameters", "active"),
    [
        ("Qwen2.5-0.5B", 0.49e9, 0.49e9),
        ("Qwen2.5-1.5B", 1.54e9, 1.54e9),
        ("Qwen2.5-7B", 7.61e9, 7.61e9),
        ("Qwen3-8B", 8.2e9, 8.2e9),
        ("Qwen3-30B-A3B", 30.5e9, 3.3e9),
    ],
)
def test_sizes_are_those_of_the_cards(name, parameters, active):
    """To the digits that the models' cards on the hub give, the mixture's active ones to 2 %."""
    assert published(name).parameters == pytest.approx(parameters, rel=0.01)
    assert published(name).active == pytest.approx(active, rel=0.02)


def test_more_processes_hold_less_each():
    shape, plan = published("Qwen2.5-1.5B"), paper_plan(1)
    alone, of_eight = (permanent(shape, replace(plan, processes=n)) for n in (1, 8))
    assert sum(alone.values()) == 16 * shape.parameters == 8 * sum(of_eight.values())
    assert passing(shape, plan)["update"] < passing(shape, replace(plan, checkpointing=False))["update"]


def test_checkpointing_costs_a_third_more_of_the_update():
    shape, plan = published("Qwen2.5-1.5B"), paper_plan(1)
    work, plain = (arithmetic(shape, replace(plan, checkpointing=on))["update"] for on in (True, False))
    assert work == pytest.approx(4 / 3 * plain)
    # 6 N n, and attention beside it
    assert plain > 6 * shape.parameters * plan.rows * (plan.prompt + plan.response)


@pytest.mark.parametrize("table", [memory_table, engine_table, time_table])
def test_the_page_has_the_tables(table):
    assert table() in (ROOT / "docs" / "scaling.md").read_text()
