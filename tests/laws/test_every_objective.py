"""Laws that hold for every yaml under conf/objective, found by looking there."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hydra.utils import instantiate

from tests.compose import composed, group_choices
from tests.laws.world import SEQUENCES, T, batch_of, gradient, logits_of, loss_of, table
from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.scoring import score_logits
from tgpo.functional.sequence import scatter
from tgpo.objectives.base import Objective
from tgpo.types import TEACHER_NEEDS, Need, StudentScores

OBJECTIVES = group_choices("objective")
VARIANTS = [
    "grpo objective.normalize_std=false",
    "grpo objective.reduction=sequence",
    "rkl objective.reduction=constant",
    "rkl objective.estimator=k2_loss",
    "rkl objective.estimator=k3_loss",
    "rkl objective.estimator=score_function",
    "rkl objective.estimator=topk_loss objective.topk=2",
    "kdrl objective.mask=incorrect",
    "kdrl objective.mask=unsolved_group",
    "kdrl objective.form=reward",
    "kdrl objective.schedule=linear objective.beta=[0.5,0.1,0]",
    "tgpo objective.reward=false",
    "tgpo objective.target=topk objective.topk=2",
]


@pytest.fixture(params=OBJECTIVES + VARIANTS)
def objective(request) -> Objective:
    name, *options = request.param.split()
    return instantiate(composed(f"objective={name}", *options).objective, _convert_="all")


@pytest.fixture
def policy():
    return table(0).requires_grad_(True)


def masked_batch(objective, policy):
    """Two groups of four sequences of ragged length, sampled from a policy a step away from the student's."""
    picks = torch.randint(len(SEQUENCES), (8,), generator=torch.Generator().manual_seed(3))
    old = policy.detach() + 0.3 * table(5)
    batch = batch_of(SEQUENCES[picks], old, table(1), torch.arange(8) // 4, objective)
    length_B = torch.tensor([3, 2, 1, 3, 2, 2, 3, 1])
    mask_BT = (torch.arange(T) < length_B[:, None]).double()
    return replace(batch, tokens=replace(batch.tokens, mask_BT=mask_BT))


def gradient_over(objective, policy, batch, parts, pad_logit=0.0):
    """The update's gradient, accumulated over micro-batches as the trainer does it."""
    with torch.no_grad():
        credit = objective.credit(batch, 1)
    weights_BT = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    total = torch.zeros_like(policy)
    for rows in parts:
        part = batch.select(rows)
        width, mask_BT = part.mask_BT.shape[1], part.mask_BT
        logits_BTV = logits_of(policy, batch.tokens.response_BT[rows])[:, :width]
        logits_BTV = logits_BTV + (1 - mask_BT[..., None]) * pad_logit
        ids = part.teacher.topk_ids_BTK if part.teacher else None
        picked = mask_BT > 0
        asked = ids[picked] if ids is not None else torch.empty(int(picked.sum()), 0, dtype=torch.long)
        scores = score_logits(logits_BTV[picked], part.tokens.response_BT[picked], asked)
        student = StudentScores(*(scatter(x, mask_BT) for x in scores[:3]))
        loss_BT = objective.loss(student, part, credit.select(rows, width)).loss_BT
        total += gradient(reduce(loss_BT, weights_BT[rows, :width]), policy)
    return total


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3, 4, 5, 6], [7]], [[i] for i in range(8)]], ids=["ragged", "ones"])
def test_any_micro_batch_split_gives_the_whole_gradient(objective, policy, parts):
    batch = masked_batch(objective, policy)
    whole = gradient_over(objective, policy, batch, [torch.arange(8)])
    split = gradient_over(objective, policy, batch, [torch.tensor(part) for part in parts])
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-14)  # float64, another order of summation


def test_padding_changes_nothing_under_extreme_logits(objective, policy):
    batch = masked_batch(objective, policy)
    plain = gradient_over(objective, policy, batch, [torch.arange(8)])
    extreme = gradient_over(objective, policy, batch, [torch.arange(8)], pad_logit=1e300)
    assert torch.equal(plain, extreme)
    assert plain.isfinite().all()


def test_padding_tokens_are_not_read(objective, policy):
    batch = masked_batch(objective, policy)
    scrambled = torch.where(batch.mask_BT > 0, batch.tokens.response_BT, (batch.tokens.response_BT + 1) % 3)
    other = replace(batch, tokens=replace(batch.tokens, response_BT=scrambled))
    for a, b in zip(*(astuple(objective.credit(x, 1)) for x in (batch, other)), strict=True):
        assert torch.equal(a, b)


def astuple(credit):
    return [x for x in (credit.mask_BT, credit.advantage_BT, credit.teacher_weight_BT) if x is not None]


def test_equal_rewards_give_exactly_no_policy_gradient(objective, policy):
    if not objective.needs_groups:
        pytest.skip("uses no group advantage")
    # a bonus in the advantage is not the reward's doing: switched off here
    if hasattr(objective, "weight"):
        objective = replace(objective, weight=(0.0, 0.0, 0.0))
    if getattr(objective, "form", None) == "reward":
        objective = replace(objective, beta=0.0)
    batch = masked_batch(objective, policy)
    credit = objective.credit(replace(batch, reward_B=torch.full((8,), 0.1, dtype=torch.float64)), 1)
    assert credit.advantage_BT is not None
    assert (credit.advantage_BT == 0).all()


def test_reads_only_what_it_declares(objective, policy):
    """With everything it did not ask for taken away, it gives the same loss."""
    batch = masked_batch(objective, policy)
    gone = {
        "reward_B": Need.REWARD in objective.needs,
        "old_logprobs_BT": Need.OLD_LOGPROBS in objective.needs,
        "old_at_teacher_topk_BTK": Need.OLD_AT_TEACHER_TOPK in objective.needs,
        "teacher": bool(objective.needs & TEACHER_NEEDS),
    }
    bare = replace(batch, **{name: None for name, needed in gone.items() if not needed})
    rows = [torch.arange(8)]
    assert torch.equal(gradient_over(objective, policy, bare, rows), gradient_over(objective, policy, batch, rows))


def test_asks_for_nothing_it_does_not_read(objective, policy):
    """Each thing it declares, taken away, is missed."""
    batch = masked_batch(objective, policy)
    without = {
        Need.REWARD: {"reward_B": None},
        Need.OLD_LOGPROBS: {"old_logprobs_BT": None},
        Need.OLD_AT_TEACHER_TOPK: {"old_at_teacher_topk_BTK": None},
        Need.TEACHER_SAMPLED: {"teacher": replace(batch.teacher, sampled_logprobs_BT=None)},
        Need.TEACHER_TOPK: {"teacher": replace(batch.teacher, topk_ids_BTK=None, topk_logprobs_BTK=None)},
    }
    for need in objective.needs:
        with pytest.raises((AssertionError, IndexError, RuntimeError, TypeError)):
            gradient_over(objective, policy, replace(batch, **without[need]), [torch.arange(8)])


def test_is_frozen_and_every_default_is_in_its_yaml(objective, request):
    name = request.node.callspec.params["objective"].split()[0]
    written = set(composed(f"objective={name}").objective) - {"_target_"}
    assert written == {f.name for f in fields(objective)}
    with pytest.raises((AttributeError, TypeError)):
        objective.reduction = "token"


def test_loss_of_the_whole_batch_is_finite(objective, policy):
    assert loss_of(
        objective, policy, batch_of(SEQUENCES, policy.detach(), table(1), torch.zeros(27), objective)
    ).isfinite()
