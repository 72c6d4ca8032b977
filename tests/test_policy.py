"""The student's forward pass: gradient checkpointing gives the same gradient for less memory, and no dropout."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.parts import small
from tgpo.models.policy import Policy


@pytest.fixture(scope="module")
def tokens():
    parts = small()
    return parts.trainer.collector.collect(1, parts.trainer.objective, 0).batch.tokens


def pass_of(model, tokens, recompute):
    """Log-probabilities, gradients, and bytes kept for the backward pass."""
    policy = Policy(model, 101, 2**24, recompute=recompute)
    kept = 0

    def keep(x):
        nonlocal kept
        kept += x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        logprobs_BT = policy(tokens).logprobs_BT
    logprobs_BT.sum().backward()
    return logprobs_BT.detach(), [p.grad for p in policy.parameters()], kept


def test_checkpointing_gives_the_same_gradient_for_less_memory(student_model, tokens):
    plain, cheap = (pass_of(copy.deepcopy(student_model), tokens, recompute) for recompute in (False, True))
    assert torch.equal(plain[0], cheap[0])
    for ours, theirs in zip(plain[1], cheap[1], strict=True):
        assert torch.equal(ours, theirs)  # the same operations in the same order
    assert cheap[2] < plain[2] / 2


def test_checkpointing_brings_no_dropout_and_leaves_the_model_in_evaluation(student_model, tokens):
    model = copy.deepcopy(student_model)
    for block in model.model.layers:
        block.self_attn.attention_dropout = 0.5
    first, second = (pass_of(copy.deepcopy(model), tokens, True)[0] for _ in range(2))
    assert torch.equal(first, second)
    pass_of(model, tokens, True)
    assert not any(module.training for module in model.modules())
