"""MiniLLM: its numbers by hand, `rkl` as its special case, and what it claims: the SEQUENCE's reverse KL."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.laws.world import SEQUENCES, T, batch_of, gradient, loss_of, table
from tests.objectives.by_hand import evaluate
from tgpo.functional.sequence import discounted_future
from tgpo.objectives.minillm import MiniLLM
from tgpo.objectives.rkl import RKL
from tgpo.types.problem import Need


def claim(objective, world):
    """At gamma 1, not normalised: the reverse KL of whole sequences, states and all.

    Otherwise each token's probability, times what follows it on average, held fixed: in state s the expected gradient
    is `sum_a grad pi(a|s) E[d_t + weighted future | s, a]`, which is no divergence's.
    """
    if objective.gamma == 1 and not objective.normalize:
        return (world.student_S * world.log_ratio_ST.sum(1)).sum() / T
    d_ST = -world.log_ratio_ST.detach()
    total_ST = d_ST.clone()
    for t in range(T):
        for later in range(t + 1, T):
            share = 1 / (T - 1 - t) if objective.normalize else 1.0
            total_ST[:, t] += share * objective.gamma ** (later - t) * d_ST[:, later]
    return -(world.student_S.detach()[:, None] * world.written_ST.log() * total_ST).sum() / T


def test_by_hand():
    """The first rollout has two tokens: the first answers for the second, whose ratio is 1; the other has one."""
    a, b, c = math.log(0.25 / 0.5), math.log(0.5 / 0.25), math.log(0.1 / 0.5)
    expected = (-1.2 * (a + b) - b - 0.8 * c) / 3
    assert evaluate(MiniLLM())[0] == pytest.approx(expected, rel=1e-12)
    half = (-1.2 * (a + 0.5 * b) - b - 0.8 * c) / 3
    assert evaluate(MiniLLM(gamma=0.5))[0] == pytest.approx(half, rel=1e-12)


def test_the_future_is_discounted_and_divided_by_its_length():
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert discounted_future(values, 1.0).tolist() == [[14, 12, 8, 0], [1, 0, 0, 0]]
    assert discounted_future(values, 0.5).tolist() == [[3, 4, 4, 0], [0.5, 0, 0, 0]]


@pytest.mark.parametrize("normalize", [True, False])
def test_the_last_token_of_a_response_has_no_future(normalize):
    """The second rollout ends after one token; what stands behind it in the grid is no one's."""
    credit = evaluate(MiniLLM(**({} if normalize else {"normalize": False})))[2]
    assert credit.advantage_BT[1].tolist() == pytest.approx([math.log(0.1 / 0.5), 0.0])


def test_at_0_it_is_rkl():
    """Loss and gradient, a step away from pi_old so that some ratios are clipped."""
    policy, group_B = table(0).requires_grad_(True), torch.zeros(27, dtype=torch.long)
    old = policy.detach() + 0.3 * table(5)
    losses = []
    for objective in (MiniLLM(gamma=0.0), RKL()):
        losses.append(loss_of(objective, policy, batch_of(SEQUENCES, old, table(1), group_B, objective)))
    ours, theirs = losses
    assert torch.equal(ours, theirs)
    assert torch.equal(gradient(ours, policy), gradient(theirs, policy))


def test_a_response_without_a_teacher_adds_nothing_to_its_past():
    taught = evaluate(MiniLLM(), taught_B=torch.tensor([False, True]))[2].advantage_BT
    assert taught[0].tolist() == [0.0, 0.0]


def test_needs():
    assert MiniLLM().needs == {Need.TEACHER_SAMPLED, Need.OLD_LOGPROBS}
    assert replace(MiniLLM(), gamma=0.5) == MiniLLM(gamma=0.5)


@pytest.mark.parametrize("options", [{"gamma": -0.1}, {"gamma": 1.1}, {"normalize": False, "gamma": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MiniLLM(**options)
