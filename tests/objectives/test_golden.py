"""Each objective on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tgpo.functional.reduce import reduce, token_weights
from tgpo.objectives.constant_bonus import ConstantBonus
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.kdrl import KDRL
from tgpo.objectives.rkl import RKL
from tgpo.objectives.tgpo import TGPO
from tgpo.objectives.tgpo_adv import TGPOAdvantage
from tgpo.types import Need, ScoredBatch, StudentScores, TeacherSignal, TokenBatch

# two rollouts of one prompt: the first right with two tokens, the second wrong with one
MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
OLD = torch.log(torch.tensor([[0.5, 0.25], [0.5, 1.0]], dtype=torch.float64)) * MASK
NEW = torch.log(torch.tensor([[0.6, 0.25], [0.4, 1.0]], dtype=torch.float64)) * MASK
TEACHER = torch.log(torch.tensor([[0.25, 0.5], [0.1, 1.0]], dtype=torch.float64)) * MASK
AT_ARGMAX = torch.log(torch.tensor([[0.2, 0.25], [0.1, 1.0]], dtype=torch.float64)) * MASK
OLD_AT_ARGMAX = torch.log(torch.tensor([[0.3, 0.5], [0.7, 1.0]], dtype=torch.float64)) * MASK
STD = math.sqrt(0.5)  # of rewards 1 and 0, unbiased


def evaluate(objective, step=1):
    nothing = torch.empty(2, 0, dtype=torch.long)
    batch = ScoredBatch(
        tokens=TokenBatch(nothing, nothing, torch.zeros(2, 2, dtype=torch.long), MASK),
        group_B=torch.tensor([0, 0]),
        off_policy_B=torch.tensor([False, False]),
        reward_B=torch.tensor([1.0, 0.0], dtype=torch.float64),
        old_logprobs_BT=OLD,
        old_at_teacher_topk_BTK=OLD_AT_ARGMAX[..., None],
        teacher=TeacherSignal(TEACHER, torch.zeros(2, 2, 1, dtype=torch.long), AT_ARGMAX[..., None]),
        max_response_length=4,
    )
    credit = objective.credit(batch, step)
    answer = objective.loss(StudentScores(NEW, NEW, AT_ARGMAX[..., None]), batch, credit)
    weights = token_weights(credit.mask_BT, objective.reduction, 4)
    return reduce(answer.loss_BT, weights).item(), answer, credit


def test_grpo():
    advantage = 0.5 / (STD + 1e-6)
    # ratios 1.2, 1, 0.8: none is outside [0.8, 1.2]
    expected = (-1.2 * advantage - 1.0 * advantage + 0.8 * advantage) / 3
    assert evaluate(GRPO())[0] == pytest.approx(expected, rel=1e-12)
    without_std = (-1.2 - 1.0 + 0.8) * 0.5 / 3
    assert evaluate(GRPO(normalize_std=False))[0] == pytest.approx(without_std, rel=1e-12)


def test_grpo_clip_fraction():
    _, answer, _ = evaluate(GRPO(clip_low=0.1, clip_high=0.1))
    assert answer.token_means["policy/clip_fraction"].tolist() == [[1, 0], [1, 0]]


def test_rkl():
    a, b, c = math.log(0.25 / 0.5), math.log(0.5 / 0.25), math.log(0.1 / 0.5)
    assert evaluate(RKL())[0] == pytest.approx((-1.2 * a - b - 0.8 * c) / 3, rel=1e-12)


def test_tgpo_is_grpo_plus_the_teachers_token():
    guidance = -(math.log(0.2) + math.log(0.25) + math.log(0.1)) / 3
    expected = evaluate(GRPO())[0] + 0.5 * guidance
    assert evaluate(TGPO(weight=(0.5, 0.01, 0.0)))[0] == pytest.approx(expected, rel=1e-12)


def test_tgpo_weight_falls_with_the_step_and_is_logged():
    objective = TGPO(weight=(0.5, 0.1, 0.2))
    assert [evaluate(objective, k)[2].scalars["loss/teacher_weight"] for k in (1, 2, 4, 9)] == pytest.approx(
        [0.5, 0.4, 0.2, 0.2]
    )


def test_tgpo_limits():
    assert evaluate(TGPO(weight=(0.0, 0.0, 0.0)))[0] == evaluate(GRPO())[0]
    guidance = -(math.log(0.2) + math.log(0.25) + math.log(0.1)) / 3
    assert evaluate(TGPO(weight=(1.0, 0.0, 0.0), reward=False))[0] == pytest.approx(guidance, rel=1e-12)


def test_rkl_as_a_loss():
    """log rho = log 2.4, log 0.5, log 4 on the three tokens."""
    logratios = [math.log(0.6 / 0.25), math.log(0.25 / 0.5), math.log(0.4 / 0.1)]
    k2 = sum(0.5 * x * x for x in logratios) / 3
    k3 = sum(math.exp(-x) - 1 + x for x in logratios) / 3
    score = sum(x * math.log(p) for x, p in zip(logratios, (0.6, 0.25, 0.4), strict=True)) / 3
    assert evaluate(RKL(estimator="k2_loss"))[0] == pytest.approx(k2, rel=1e-12)
    assert evaluate(RKL(estimator="k3_loss"))[0] == pytest.approx(k3, rel=1e-12)
    assert evaluate(RKL(estimator="score_function"))[0] == pytest.approx(score, rel=1e-12)


def test_kdrl():
    k2 = [0.5 * math.log(r) ** 2 for r in (0.6 / 0.25, 0.25 / 0.5, 0.4 / 0.1)]
    base = evaluate(GRPO())[0]
    assert evaluate(KDRL(beta=0.1))[0] == pytest.approx(base + 0.1 * sum(k2) / 3, rel=1e-12)
    # the second rollout is the wrong one; the mean is still over all three tokens
    assert evaluate(KDRL(beta=0.1, mask="incorrect"))[0] == pytest.approx(base + 0.1 * k2[2] / 3, rel=1e-12)
    assert evaluate(KDRL(beta=0.1, mask="unsolved_group"))[0] == pytest.approx(base, rel=1e-12)
    assert evaluate(KDRL(beta=0.0))[0] == pytest.approx(base, rel=1e-12)


def test_kdrl_in_the_reward():
    advantage = 0.5 / (STD + 1e-6)
    a = [advantage + 0.1 * math.log(0.25 / 0.5), advantage + 0.1 * math.log(0.5 / 0.25)]
    b = -advantage + 0.1 * math.log(0.1 / 0.5)
    expected = -(1.2 * a[0] + 1.0 * a[1] + 0.8 * b) / 3
    assert evaluate(KDRL(beta=0.1, form="reward"))[0] == pytest.approx(expected, rel=1e-12)


def test_kdrl_schedule():
    objective = KDRL(beta=(0.5, 0.1, 0.2), schedule="linear")
    assert [evaluate(objective, k)[2].scalars["loss/teacher_weight"] for k in (1, 2, 9)] == pytest.approx(
        [0.5, 0.4, 0.2]
    )


def test_bonuses_in_the_advantage():
    advantage = 0.5 / (STD + 1e-6)
    published = -(1.2 * (advantage + 0.4 * 0.3) + (advantage + 0.4 * 0.5) + 0.8 * (-advantage + 0.4 * 0.7)) / 3
    assert evaluate(TGPOAdvantage(weight=(0.4, 0.0, 0.0)))[0] == pytest.approx(published, rel=1e-12)
    control = -(1.2 * (advantage + 0.4) + (advantage + 0.4) + 0.8 * (-advantage + 0.4)) / 3
    assert evaluate(ConstantBonus(weight=(0.4, 0.0, 0.0)))[0] == pytest.approx(control, rel=1e-12)


def test_needs():
    assert GRPO().needs == {Need.REWARD, Need.OLD_LOGPROBS}
    assert RKL(estimator="k2_loss").needs == {Need.TEACHER_SAMPLED}
    assert RKL(estimator="topk_loss").needs == {Need.TEACHER_TOPK}
    assert TGPO(reward=False).needs == {Need.TEACHER_TOPK}
    assert RKL().needs == {Need.OLD_LOGPROBS, Need.TEACHER_SAMPLED}
    assert TGPO().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_TOPK}


@pytest.mark.parametrize(
    "options", [{"clip_low": 0}, {"clip_low": 1.5}, {"clip_high": -1}, {"reduction": "mean"}, {"klip": 1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GRPO(**options)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="weight"):
        TGPO(weight=(-1.0, 0.0, 0.0))
