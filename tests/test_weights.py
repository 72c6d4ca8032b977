"""Adapters: they alone are trained, they begin as nothing, and what is saved is what was trained."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.parts import small, state_of
from tgpo.models.weights import adapter_weights, copy_into, is_adapter, plain_weights
from tgpo.training import checkpoint
from tgpo.training.components import build_components

LORA = ["lora.rank=4", "train.lr=1e-2", "train.warmup_steps=0"]
# two orders of summation in float32, W x + s B A x and (W + s B A) x, through four layers; a forgotten scale gives 0.1
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def trained():
    parts = small(*LORA)
    for step in (1, 2):
        parts.trainer.step(step)
    return parts


def logits(model):
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        return model(ids).logits


def test_the_student_begins_as_it_was(student_model):
    parts = small(*LORA)
    model = parts.trainer.policy.model
    assert any(is_adapter(name) for name, _ in model.named_parameters())
    torch.testing.assert_close(logits(model), logits(student_model), rtol=0, atol=0)


def test_adapters_alone_are_trained(trained, student_model):
    policy = trained.trainer.policy
    named = dict(policy.model.named_parameters())
    assert {name for name, p in named.items() if p.requires_grad} == {name for name in named if is_adapter(name)}
    for name, before in student_model.state_dict().items():
        now = policy.model.state_dict()
        assert torch.equal(now.get(name, now.get(name.replace(".weight", ".base_layer.weight"))), before)
    assert all(bool(p.any()) for name, p in named.items() if is_adapter(name))
    assert (logits(policy.model) - logits(student_model)).abs().max() > 0.1
    moments = trained.trainer.optimizer.state_dict()["state"]
    assert len(moments) == sum(map(is_adapter, named))


def test_plain_weights_are_those_of_the_merged_model(trained, student_model):
    model = trained.trainer.policy.model
    weights = dict(plain_weights(model))
    assert weights.keys() == student_model.state_dict().keys()
    merged = small().trainer.policy.model
    copy_into(merged, model)
    torch.testing.assert_close(logits(merged), logits(model), **CLOSE)


def test_a_checkpoint_holds_the_merged_model_and_the_adapters(trained, tmp_path):
    trainer = trained.trainer
    folder = checkpoint.save(tmp_path, 2, state_of(trained, base_model="a-model"))
    ours = logits(trainer.policy.model)
    merged = AutoModelForCausalLM.from_pretrained(folder / "model")
    torch.testing.assert_close(logits(merged), ours, **CLOSE)
    beside = PeftModel.from_pretrained(small().trainer.policy.model, str(folder / "adapters"))
    torch.testing.assert_close(logits(beside), ours, rtol=0, atol=0)
    assert beside.peft_config["default"].base_model_name_or_path == "a-model"

    back = build_components(trained.request, folder)
    assert back.done == 2
    for name, value in adapter_weights(back.trainer.policy.model).items():
        assert torch.equal(value, adapter_weights(trainer.policy.model)[name])
    ours, theirs = (parts.trainer.step(3)[0] for parts in (trained, back))
    assert ours["loss/total"] == theirs["loss/total"]
    assert ours["gradient/norm"] == theirs["gradient/norm"]
