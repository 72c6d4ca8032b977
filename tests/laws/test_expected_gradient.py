"""Law 3: the expected gradient, over all sequences, is that of what the objective claims to optimise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.laws.world import (
    SEQUENCES,
    T,
    batch_of,
    expected_gradient,
    gradient,
    logits_of,
    loss_of,
    reward_of,
    sequence_logprobs,
    table,
)
from tgpo.objectives.constant_bonus import ConstantBonus
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.kdrl import KDRL
from tgpo.objectives.rkl import RKL
from tgpo.objectives.tgpo import TGPO
from tgpo.objectives.tgpo_adv import TGPOAdvantage
from tgpo.types import TokenLoss

# both sides are float64 sums over 729 pairs
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture
def policy():
    return table(0).requires_grad_(True)


@pytest.fixture
def teacher():
    return table(1)


def minus_expected_reward(policy):
    """With no division by the standard deviation, a pair's centred rewards give half of the policy gradient."""
    probability_S = sequence_logprobs(policy, SEQUENCES).sum(1).exp()
    return -(probability_S * reward_of(SEQUENCES)).sum() / (2 * T)


def states(policy):
    """Probability of each state the policy visits, held fixed, and both policies' logits there: `[S,T]`, `[S,T,V]`."""
    return sequence_logprobs(policy, SEQUENCES).sum(1).exp().detach()


def reverse_kl(policy, teacher):
    ours, theirs = (logits_of(p, SEQUENCES).log_softmax(-1) for p in (policy, teacher))
    return (states(policy)[:, None] * (ours.exp() * (ours - theirs)).sum(-1)).sum() / T


def guidance(policy, teacher):
    ours, argmax = logits_of(policy, SEQUENCES).log_softmax(-1), logits_of(teacher, SEQUENCES).argmax(-1)
    return -(states(policy)[:, None] * ours.gather(-1, argmax[..., None])[..., 0]).sum() / T


def test_grpo_climbs_the_expected_reward(policy, teacher):
    found = expected_gradient(GRPO(normalize_std=False), policy, teacher)
    torch.testing.assert_close(found, gradient(minus_expected_reward(policy), policy), **CLOSE)


def test_rkl_descends_the_per_state_reverse_kl(policy, teacher):
    found = expected_gradient(RKL(), policy, teacher)
    torch.testing.assert_close(found, gradient(reverse_kl(policy, teacher), policy), **CLOSE)


def test_tgpo_is_both(policy, teacher):
    found = expected_gradient(TGPO(weight=(0.7, 0.0, 0.0), normalize_std=False), policy, teacher)
    claimed = minus_expected_reward(policy) + 0.7 * guidance(policy, teacher)
    torch.testing.assert_close(found, gradient(claimed, policy), **CLOSE)


@pytest.mark.parametrize("estimator", ["k2_loss", "score_function"])
def test_these_estimators_descend_the_same_divergence(estimator, policy, teacher):
    found = expected_gradient(RKL(estimator=estimator), policy, teacher)
    torch.testing.assert_close(found, gradient(reverse_kl(policy, teacher), policy), **CLOSE)


def test_topk_loss_over_the_whole_vocabulary_is_the_reverse_kl(policy, teacher):
    found = expected_gradient(RKL(estimator="topk_loss", topk=3), policy, teacher)
    torch.testing.assert_close(found, gradient(reverse_kl(policy, teacher), policy), **CLOSE)


def test_k3_as_a_loss_has_the_forward_kls_gradient(policy, teacher):
    """The bias it has: right as a value, but its expected gradient is `grad sum_v pi_T(v) * -log pi_theta(v)`."""
    ours, theirs = (logits_of(p, SEQUENCES).log_softmax(-1) for p in (policy, teacher))
    forward = (states(policy)[:, None] * (theirs.exp() * (theirs - ours)).sum(-1)).sum() / T
    found = expected_gradient(RKL(estimator="k3_loss"), policy, teacher)
    torch.testing.assert_close(found, gradient(forward, policy), **CLOSE)


@pytest.mark.parametrize("form", ["joint", "reward"])
def test_kdrl_is_reward_and_reverse_kl(form, policy, teacher):
    found = expected_gradient(KDRL(beta=0.3, form=form, normalize_std=False), policy, teacher)
    claimed = minus_expected_reward(policy) + 0.3 * reverse_kl(policy, teacher)
    torch.testing.assert_close(found, gradient(claimed, policy), **CLOSE)


def test_tgpo_over_all_tokens_descends_the_forward_kl(policy, teacher):
    ours, theirs = (logits_of(p, SEQUENCES).log_softmax(-1) for p in (policy, teacher))
    forward = (states(policy)[:, None] * (theirs.exp() * (theirs - ours)).sum(-1)).sum() / T
    objective = TGPO(weight=(1.0, 0.0, 0.0), target="topk", topk=3, reward=False)
    torch.testing.assert_close(expected_gradient(objective, policy, teacher), gradient(forward, policy), **CLOSE)


@pytest.mark.parametrize("objective", [TGPOAdvantage, ConstantBonus])
def test_a_bonus_that_does_not_depend_on_the_token_has_no_gradient_of_its_own(objective, policy, teacher):
    """Published as guidance, `tgpo_adv`'s expected gradient is that of the reward alone."""
    found = expected_gradient(objective(weight=(0.7, 0.0, 0.0), normalize_std=False), policy, teacher)
    torch.testing.assert_close(found, gradient(minus_expected_reward(policy), policy), **CLOSE)


class FlippedSign(RKL):
    def credit(self, batch, step):
        credit = super().credit(batch, step)
        return replace(credit, advantage_BT=-credit.advantage_BT)


class K1AsLoss(RKL):
    def loss(self, student, batch, credit):
        return TokenLoss(student.logprobs_BT - batch.teacher.sampled_logprobs_BT)


class MissingDetach(RKL):
    def loss(self, student, batch, credit):
        advantage = batch.teacher.sampled_logprobs_BT - student.logprobs_BT
        return TokenLoss(-torch.exp(student.logprobs_BT - batch.old_logprobs_BT) * advantage)


class TwiceTheSize(RKL):
    def loss(self, student, batch, credit):
        return TokenLoss(2 * super().loss(student, batch, credit).loss_BT)


@pytest.mark.parametrize("fault", [FlippedSign, K1AsLoss, TwiceTheSize])
def test_planted_faults_are_caught(fault, policy, teacher):
    found = expected_gradient(fault(), policy, teacher)
    assert not torch.allclose(found, gradient(reverse_kl(policy, teacher), policy), rtol=1e-3, atol=1e-6)


def test_a_missing_detach_shows_on_a_single_sequence(policy, teacher):
    """In expectation the extra term is E[grad log pi] = 0: only the gradient of given rollouts can show it."""

    def single(objective):
        batch = batch_of(SEQUENCES[:4], policy.detach(), teacher, torch.zeros(4, dtype=torch.long), objective)
        return gradient(loss_of(objective, policy, batch), policy)

    assert not torch.allclose(single(RKL()), single(MissingDetach()), rtol=1e-3, atol=1e-6)
    assert torch.allclose(
        expected_gradient(MissingDetach(), policy, teacher), expected_gradient(RKL(), policy, teacher), **CLOSE
    )
