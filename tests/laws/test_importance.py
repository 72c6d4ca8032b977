"""Rollouts of a sampler that is not quite the policy, each token weighed by pi_old / sampler."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.laws.world import SEQUENCES, T, World, batch_of, gradient, logits_of, scores_of, table
from tgpo.objectives.rkl import IN_THE_ADVANTAGE, RKL
from tgpo.training.collector import importance


def sequence_logprobs(policy, tokens_BT):
    return logits_of(policy, tokens_BT).log_softmax(-1).gather(-1, tokens_BT[..., None])[..., 0]


@pytest.fixture
def world():
    return World(table(0).requires_grad_(True), table(1))


def expected_gradient(world, sampler, cap, estimator="k1_advantage"):
    """Of `rkl` over all sequences, weighed by how often the sampler writes them."""
    wide = {"clip_low": 0.99, "clip_high": 99.0} if estimator in IN_THE_ADVANTAGE else {}  # others clip nothing
    objective, old = RKL(estimator=estimator, **wide), world.policy.detach()
    batch = batch_of(SEQUENCES, old, world.teacher, torch.zeros(27, dtype=torch.long), objective)
    sampler_BT = sequence_logprobs(sampler, SEQUENCES)
    if cap is not None:
        old_BT = sequence_logprobs(old, SEQUENCES)
        weights_BT = importance(old_BT, sampler_BT, batch.off_policy_B, cap)
        batch = replace(batch, importance_BT=weights_BT)
    loss_BT = objective.loss(scores_of(world.policy, batch, objective), batch, objective.credit(batch, 1)).loss_BT
    return gradient((sampler_BT.sum(1).exp() * loss_BT.mean(1)).sum(), world.policy)


def claimed(world, sampler):
    """The reverse KL in the states the SAMPLER visits, its tokens there being the policy's own."""
    visited_S = sequence_logprobs(sampler, SEQUENCES).sum(1).exp()
    ours, theirs = (logits_of(p, SEQUENCES).softmax(-1) for p in (world.policy, world.teacher))
    return gradient((visited_S[:, None] * (ours * (ours / theirs).log()).sum(-1)).sum() / T, world.policy)


@pytest.mark.parametrize("estimator", ["k1_advantage", "k2_loss", "score_function", "centered"])
def test_weighed_and_not_cut_it_is_the_policys_own_gradient(world, estimator):
    sampler = world.policy.detach() + 0.5 * table(5)
    found = expected_gradient(world, sampler, math.inf, estimator)
    torch.testing.assert_close(found, claimed(world, sampler), rtol=1e-9, atol=1e-12)  # float64 sums over 27
    biased = expected_gradient(world, sampler, None, estimator)
    assert (biased - claimed(world, sampler)).abs().max() > 1e-2


def test_cut_it_lies_between(world):
    sampler = world.policy.detach() + 0.5 * table(5)
    error = [(expected_gradient(world, sampler, cap) - claimed(world, sampler)).norm() for cap in (1.0, 1.5, 2.0, 4.0)]
    assert error == sorted(error, reverse=True)
    assert error[-1] < error[0] / 4


def test_a_sampler_that_is_the_policy_changes_nothing(world):
    same = world.policy.detach()
    weighed, plain = (expected_gradient(world, same, cap) for cap in (2.0, None))
    torch.testing.assert_close(weighed, plain, rtol=1e-12, atol=1e-14)  # two float64 roundings of the same logits


def test_demonstrations_weigh_1():
    old, sampler = torch.tensor([[-1.0], [-3.0]]), torch.tensor([[-2.0], [0.0]])
    weights = importance(old, sampler, torch.tensor([False, True]), cap=2.0)
    assert weights.tolist() == [[2.0], [1.0]]
