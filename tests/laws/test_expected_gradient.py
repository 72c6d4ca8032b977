"""Law 3: the expected gradient, over all groups of sequences, is that of what the objective claims to descend.

The claim of each is in tests/objectives. Here it is held to it, and faults are planted that must be caught.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.laws.variants import VARIANTS, build, own_test
from tests.laws.world import World, expected_gradient, gradient, table
from tgpo.objectives.kdrl import KDRL
from tgpo.objectives.rkl import RKL
from tgpo.objectives.tgpo import TGPO
from tgpo.objectives.tgpo_adv import TGPOAdvantage
from tgpo.types.scores import TokenLoss


@pytest.fixture
def world():
    return World(table(0).requires_grad_(True), table(1))


def keeps_its_word(objective, claimed, world) -> bool:
    # both sides are float64 sums over 729 pairs
    return torch.allclose(expected_gradient(objective, world), claimed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_expected_gradient_is_that_of_the_claim(variant, world):
    objective, claim = build(variant), own_test(variant).claim
    claimed = gradient(claim(objective, world), world.policy)
    assert claimed.abs().max() > 1e-3  # a claim that says something
    assert keeps_its_word(objective, claimed, world)


class FlippedSign(RKL):
    def credit(self, batch, step):
        credit = super().credit(batch, step)
        return replace(credit, advantage_BT=-credit.advantage_BT)


class K1AsLoss(RKL):
    def loss(self, student, batch, credit):
        return TokenLoss(student.logprobs_BT - batch.teacher.sampled_logprobs_BT)


class MissingDetach(TGPOAdvantage):
    """The bonus is the policy's own probability, with its gradient."""

    def loss(self, student, batch, credit):
        own = replace(batch, old_at_teacher_topk_BTK=student.at_teacher_topk_BTK)
        bonus_BT = credit.teacher_weight_BT * own.old_at_teacher_topk_BTK[..., 0].exp()
        ratio_BT = torch.exp(student.logprobs_BT - batch.old_logprobs_BT)
        return TokenLoss(-ratio_BT * (credit.advantage_BT + bonus_BT))

    @property
    def needs(self):
        return super().needs | TGPO(reward=False).needs


class ScoreWithoutDetach(RKL):
    def loss(self, student, batch, credit):
        return TokenLoss((student.logprobs_BT - batch.teacher.sampled_logprobs_BT) * student.logprobs_BT)


class TwiceTheSize(KDRL):
    def loss(self, student, batch, credit):
        return super().loss(student, batch, replace(credit, teacher_weight_BT=2 * credit.teacher_weight_BT))


FAULTS = {
    "flipped sign": (FlippedSign(), RKL(), "rkl"),
    "k1 as a loss": (K1AsLoss(), RKL(), "rkl"),
    "missing detach of the bonus": (MissingDetach(weight=(0.5, 0, 0)), TGPOAdvantage(weight=(0.5, 0, 0)), "tgpo_adv"),
    "missing detach of the score": (
        ScoreWithoutDetach(estimator="score_function"), RKL(estimator="score_function"), "rkl",
    ),
    "factor of two": (TwiceTheSize(beta=0.05), KDRL(beta=0.05), "kdrl"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault, world):
    faulty, sound, name = FAULTS[fault]
    claimed = gradient(own_test(name).claim(sound, world), world.policy)
    assert keeps_its_word(sound, claimed, world)
    assert not keeps_its_word(faulty, claimed, world)
