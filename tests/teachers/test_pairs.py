"""Every objective works with every context and with every kind of weights: each pair composes and takes a step."""

from __future__ import annotations

import math

import pytest
import torch

from tests.compose import group_choices
from tests.laws.variants import build
from tests.parts import small, weights
from tgpo.types.problem import TEACHER_NEEDS

FEW = ["rollout.prompts_per_batch=2", "rollout.group_size=4", "rollout.max_response_length=24",
       "metrics.divergence_every=0", "metrics.gradient_variance_every=0"]  # fmt: skip
KINDS = ["model", "initial", "live", "ema"]
CONTEXTS = group_choices("teacher/context")
TAUGHT = [name for name in group_choices("objective") if build(name).needs & TEACHER_NEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("objective", TAUGHT)
def test_an_objective_takes_a_step_with_each(objective):
    """The contexts are dealt out to the kinds of weights, so that each of both is met once and not their product."""
    moved = []
    for number, kind in enumerate(KINDS):
        for step, context in enumerate(CONTEXTS[number :: len(KINDS)], start=1):
            options = [f"objective={objective}", f"teacher.weights={kind}", f"teacher.context={context}"]
            trainer = small(*FEW, *options).trainer
            before = weights(trainer)
            record, collected = trainer.step(step)
            assert math.isfinite(record["loss/total"]), options
            assert record["train/skipped_updates"] == 0, options
            assert bool(collected.asked.own_prompts) == (context != "none"), options
            moved.append(not torch.equal(weights(trainer), before))
    assert any(moved)  # a group of equal rewards, or a teacher that agrees, moves nothing; not all of them are such
