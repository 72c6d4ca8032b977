"""TGPO: its numbers by hand, its adaptive weights in closed form, and what it claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.laws.world import EOS as WORLD_EOS
from tests.objectives.by_hand import BATCH, STUDENT, evaluate, log
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.tgpo import TGPO
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal

BASE = evaluate(GRPO())[0]
GUIDANCE = [-math.log(0.2), -math.log(0.25), -math.log(0.1)]
FLAT = (0.5, 0.0, 0.0)
ADAPTIVE = {"weighting": "adaptive", "weight": FLAT}


def claim(objective, world):
    """The probability of being right, and the likelihood of the teacher's tokens in the states the student visits."""
    ours, theirs = world.ours_STV.log(), world.theirs_STV
    taught_STV = torch.nn.functional.one_hot(theirs.argmax(-1), 3).double()
    if objective.target == "sample":
        taught_STV = theirs
    if objective.target == "topk":
        best = theirs.topk(min(objective.topk, 3))
        taught_STV = torch.zeros_like(theirs).scatter(-1, best.indices, best.values)
        taught_STV = taught_STV / taught_STV.sum(-1, keepdim=True)
    if objective.mask_eos:
        taught_STV = taught_STV.clone()
        taught_STV[..., list(WORLD_EOS)] = 0
    guidance_ST = -(taught_STV * ours).sum(-1)
    if objective.weighting == "adaptive" and objective.gate:
        # 4 p (1 - p) of a pair is 1 where one of the two is right: where the other is not what this one is
        success = world.success.detach()
        guidance_ST = guidance_ST * torch.where(world.reward_S == 1, 1 - success, success)[:, None]
    wrong_S = 1 - world.reward_S
    if objective.mask == "incorrect":
        guidance_ST = guidance_ST * wrong_S[:, None]
    if objective.mask == "unsolved_group":  # the other of the pair is wrong with probability 1 - success
        guidance_ST = guidance_ST * (wrong_S * (1 - world.success.detach()))[:, None]
    reward = world.minus_success(objective) + world.reference_part(objective) if objective.reward else 0.0
    return reward + objective.weight[0] * world.on_own(guidance_ST)


def test_is_grpo_plus_the_teachers_token():
    assert evaluate(TGPO(weight=FLAT))[0] == pytest.approx(BASE + 0.5 * sum(GUIDANCE) / 3, rel=1e-12)
    alone = evaluate(TGPO(weight=FLAT, reward=False))[0]
    assert alone == pytest.approx(0.5 * sum(GUIDANCE) / 3, rel=1e-12)


def test_weight_falls_with_the_step_and_is_logged():
    objective = TGPO(weight=(0.5, 0.1, 0.2))
    weights = [evaluate(objective, k)[2].scalars["loss/teacher_weight"] for k in (1, 2, 4, 9)]
    assert weights == pytest.approx([0.5, 0.4, 0.2, 0.2])


def test_topk():
    pairs = [((0.2, 0.4), (3 / 4, 1 / 4)), ((0.25, 0.5), (2 / 3, 1 / 3)), ((0.1, 0.4), (3 / 4, 1 / 4))]
    kl = sum(t * math.log(t / s) for ours, theirs in pairs for s, t in zip(ours, theirs, strict=True)) / 3
    found = evaluate(TGPO(weight=FLAT, target="topk", topk=2))[0]
    assert found == pytest.approx(BASE + 0.5 * kl, rel=1e-12)


def test_sample():
    student = replace(STUDENT, at_teacher_topk_BTK=None, at_teacher_sample_BT=log([0.3, 0.5], [0.7, 1.0]))
    signal = TeacherSignal(sample_ids_BT=torch.tensor([[1, 2], [3, 0]]))
    found = evaluate(TGPO(weight=FLAT, target="sample"), student=student, teacher=signal)[0]
    assert found == pytest.approx(BASE - 0.5 * math.log(0.3 * 0.5 * 0.7) / 3, rel=1e-12)


def test_mask_eos_leaves_out_where_the_teacher_would_end():
    """Its first choice at the second position is EOS; the mean is still over three tokens."""
    found = evaluate(TGPO(weight=FLAT, mask_eos=True))[0]
    assert found == pytest.approx(BASE + 0.5 * (GUIDANCE[0] + GUIDANCE[2]) / 3, rel=1e-12)


def test_masks_leave_the_guidance_to_wrong_rollouts():
    """The second is wrong, and the group is solved; the mean is over all three tokens."""
    found = evaluate(TGPO(weight=FLAT, mask="incorrect"))[0]
    assert found == pytest.approx(BASE + 0.5 * GUIDANCE[2] / 3, rel=1e-12)
    assert evaluate(TGPO(weight=FLAT, mask="unsolved_group"))[0] == pytest.approx(BASE, rel=1e-12)
    alone = evaluate(TGPO(weight=FLAT, mask="unsolved_group"), reward_B=torch.zeros(2, dtype=torch.float64))[0]
    assert alone == pytest.approx(0.5 * sum(GUIDANCE) / 3, rel=1e-12)


def test_a_hard_switch_lets_go_of_the_teacher():
    objective = TGPO(weight=FLAT, until=3)
    weights = [evaluate(objective, k)[2].scalars["loss/teacher_weight"] for k in (1, 3, 4)]
    assert weights == [0.5, 0.5, 0.0]
    assert evaluate(objective, 4)[0] == BASE


@pytest.mark.parametrize(("right", "gate"), [((1, 0), 1.0), ((1, 1), 0.0), ((0, 0), 0.0), ((1, 0, 0, 0), 0.75)])
def test_the_gate_is_4_p_1_minus_p(right, gate):
    size = len(right)
    rewards = {
        "reward_B": torch.tensor(right).double(),
        "group_B": torch.zeros(size, dtype=torch.long),
        "tokens": replace(BATCH.tokens, response_BT=torch.ones(size, 2).long(), mask_BT=torch.ones(size, 2).double()),
    }
    credit = TGPO(**ADAPTIVE).credit(replace(BATCH, **rewards), 1)
    assert credit.teacher_weight_BT.unique().tolist() == [0.5 * gate]
    assert credit.scalars == {"loss/teacher_weight": 0.5, "loss/teacher_gate": gate}


def test_the_budget_is_kept_by_dual_ascent():
    """Two of the three sampled tokens are not the teacher's choice: the price rises by rate (2/3 - budget) a step."""
    objective = TGPO(**ADAPTIVE, gate=False, mismatch_budget=0.2, dual_rate=0.3)
    weights = []
    for k in range(1, 4):
        weights.append(evaluate(objective, k)[2].scalars["loss/teacher_weight"])
        objective.observe(BATCH)
    assert weights == pytest.approx([0.5 + 0.3 * (2 / 3 - 0.2) * i for i in range(3)])


def test_a_budget_that_is_met_lets_go_of_the_teacher():
    objective = TGPO(**ADAPTIVE, gate=False, mismatch_budget=0.9, dual_rate=1.0)
    for _ in range(10):
        objective.observe(BATCH)
    assert objective.state_dict() == {"weight": 0.0}  # never negative


def test_the_controllers_state_comes_back():
    objective, other = (TGPO(**ADAPTIVE, gate=False, mismatch_budget=0.2) for _ in range(2))
    objective.observe(BATCH)
    other.load_state_dict(objective.state_dict())
    assert other.credit(BATCH, 7).scalars == objective.credit(BATCH, 7).scalars != TGPO().credit(BATCH, 7).scalars
    assert TGPO().state_dict() == {}
    with pytest.raises(ValueError, match="no controller"):
        GRPO().load_state_dict({"weight": 1.0})


def test_needs():
    assert TGPO().needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_TOPK}
    assert TGPO(reward=False).needs == {Need.TEACHER_TOPK}
    assert TGPO(target="sample").needs == {Need.REWARD, Need.OLD_LOGPROBS, Need.TEACHER_SAMPLE}
    assert TGPO(reward=False, mask="incorrect").needs == {Need.REWARD, Need.TEACHER_TOPK}
    assert TGPO(reward=False, weighting="adaptive").needs == {Need.REWARD, Need.TEACHER_TOPK}


@pytest.mark.parametrize(
    "options",
    [
        {"weight": (-1.0, 0.0, 0.0)},
        {"weight": (float("nan"), 0, 0)},
        {"topk": 5},
        {"target": "topk"},
        {"mismatch_budget": 0.1},
        {"gate": False, "weighting": "adaptive"},
        {"mismatch_budget": 0.1, "weighting": "adaptive", "target": "sample"},
        {"mismatch_budget": 1.1, "weighting": "adaptive"},
        {"dual_rate": -1},
        {"until": 0},
        {"mask": "wrong"},
        {"reference_kl": 0.1, "reward": False},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="topk" if options == {"target": "topk"} else next(iter(options))):
        TGPO(**options)
