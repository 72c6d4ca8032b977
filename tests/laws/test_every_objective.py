"""The other laws, for every yaml under conf/objective and every variant it documents."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from tests.compose import composed, group_choices
from tests.laws.variants import VARIANTS, build, own_test, those
from tests.laws.world import SEQUENCES, T, V, batch_of, gradient, loss_of, scores_of, table
from tgpo.functional.reduce import reduce, token_weights
from tgpo.objectives.eopd import EOPD
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.rkl import RKL
from tgpo.objectives.switch import Switch
from tgpo.types.problem import TEACHER_NEEDS, Need


@pytest.fixture(params=VARIANTS)
def variant(request) -> str:
    return request.param


@pytest.fixture
def objective(variant):
    return build(variant)


@pytest.fixture
def policy():
    return table(0).requires_grad_(True)


def stops_gradient(variant: str) -> bool:
    """Its gradient is not that of its value, by design: its test says so."""
    return getattr(own_test(variant), "stops_gradient", lambda _: False)(build(variant))


def ragged_batch(objective, policy):
    """Two groups of four of ragged length, sampled a step away from the student; some are demonstrations, if asked."""
    picks = torch.randint(len(SEQUENCES), (8,), generator=torch.Generator().manual_seed(3))
    old, group_B = policy.detach() + 0.3 * table(5), torch.arange(8) // 4
    students = objective.mix(0, 4).student
    batch = batch_of(SEQUENCES[picks], old, table(1), group_B, objective, torch.arange(8) % 4 >= students)
    length_B = torch.tensor([3, 2, 1, 3, 2, 2, 3, 1])
    mask_BT = (torch.arange(T) < length_B[:, None]).double()
    return replace(batch, tokens=replace(batch.tokens, mask_BT=mask_BT))


def loss_over(objective, policy, batch, rows=slice(None), scores=lambda x: x, step=1):
    """One micro-batch's share of the update's loss, as the trainer takes it."""
    rows = torch.arange(8)[rows]
    with torch.no_grad():
        credit = objective.credit(batch, step)
    weights_BT = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    part = batch.select(rows)
    width = part.mask_BT.shape[1]
    student = scores(scores_of(policy, part, objective))
    loss_BT = objective.loss(student, part, credit.select(rows, width)).loss_BT
    return reduce(loss_BT, weights_BT[rows, :width])


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3, 4, 5, 6], [7]], [[i] for i in range(8)]], ids=["ragged", "ones"])
def test_any_micro_batch_split_gives_the_whole_gradient(objective, policy, parts):
    batch = ragged_batch(objective, policy)
    whole = gradient(loss_over(objective, policy, batch), policy)
    split = sum(gradient(loss_over(objective, policy, batch, part), policy) for part in parts)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-14)  # float64, another order of summation


def test_weights_are_those_of_a_mean_over_what_it_trains_on(objective, policy):
    """Of all tokens, of sequences, or a constant for each sequence: told apart by the ragged batch."""
    mask_BT = objective.credit(ragged_batch(objective, policy), 1).mask_BT
    total = token_weights(mask_BT, objective.reduction, T).sum().item()
    trained = (mask_BT.sum(1) > 0).double().mean().item()
    constant = mask_BT.sum().item() / (8 * T)
    assert total == pytest.approx({"token": 1.0, "sequence": trained, "constant": constant}[objective.reduction])


UNTAUGHT = torch.tensor([1, 4, 5])  # rows of the ragged batch
TAUGHT = those(lambda objective: bool(objective.needs & TEACHER_NEEDS))


def with_other_scores(batch, rows):
    """What the teacher says of these rows, replaced: its scores, its choices, its distribution."""
    generator = torch.Generator().manual_seed(11)
    kept_B = torch.ones(8, dtype=torch.bool).index_fill(0, rows, False)

    def changed(grid):
        if not isinstance(grid, torch.Tensor):
            return grid
        other = V - 1 - grid if grid.dtype == torch.long else -torch.rand(grid.shape, generator=generator).double()
        return torch.where(kept_B.view(-1, *[1] * (grid.ndim - 1)), grid, other)

    signal = type(batch.teacher)(**{name: changed(grid) for name, grid in vars(batch.teacher).items()})
    return replace(batch, teacher=signal, old_at_teacher_topk_BTK=changed(batch.old_at_teacher_topk_BTK))


def untaught(batch):
    return replace(batch, taught_B=torch.ones(8, dtype=torch.bool).index_fill(0, UNTAUGHT, False))


@pytest.mark.parametrize("variant", TAUGHT, indirect=True)
def test_a_response_that_the_teacher_did_not_score_is_left_out_of_its_term_alone(objective, policy):
    batch = ragged_batch(objective, policy)
    if batch.reward_B is not None:  # kdrl's `unsolved_group` needs a group that is
        batch = replace(batch, reward_B=batch.reward_B * (torch.arange(8) < 4))
    part = untaught(batch)
    value = loss_over(objective, policy, part)
    other = loss_over(objective, policy, with_other_scores(part, UNTAUGHT))
    torch.testing.assert_close(gradient(other, policy), gradient(value, policy), rtol=1e-12, atol=1e-14)
    # with everything taught the same change is seen, so the law can fail
    changed = gradient(loss_over(objective, policy, with_other_scores(batch, UNTAUGHT)), policy)
    assert not torch.allclose(changed, gradient(loss_over(objective, policy, batch), policy))
    assert torch.equal(objective.credit(part, 1).mask_BT, objective.credit(batch, 1).mask_BT)  # the denominators stay


class ForgetsTheMask(RKL):
    """A fault that the law must catch."""

    def credit(self, batch, step):
        return super().credit(replace(batch, taught_B=None), step)


def test_a_forgotten_mask_is_caught(policy):
    part = untaught(ragged_batch(ForgetsTheMask(), policy))
    other = loss_over(ForgetsTheMask(), policy, with_other_scores(part, UNTAUGHT))
    assert not torch.allclose(gradient(other, policy), gradient(loss_over(ForgetsTheMask(), policy, part), policy))


# a switch has the reward or the teacher, and in the first step the teacher
JOINT = those(lambda o: o.needs & TEACHER_NEEDS and isinstance(o, GRPO) and not isinstance(o, Switch))


@pytest.mark.parametrize("variant", JOINT, indirect=True)
def test_without_any_taught_response_the_reward_is_what_is_left(objective, policy):
    batch = replace(ragged_batch(objective, policy), taught_B=torch.zeros(8, dtype=torch.bool))
    if not getattr(objective, "reward", True):
        assert not gradient(loss_over(objective, policy, batch), policy).any()
        return
    options = {f.name: getattr(objective, f.name) for f in fields(GRPO)}
    alone = gradient(loss_over(GRPO(**options), policy, batch), policy)
    torch.testing.assert_close(gradient(loss_over(objective, policy, batch), policy), alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not stops_gradient(v)], indirect=True)
def test_gradient_is_the_losss(objective, policy):
    """Central differences in float64, the credit held fixed."""
    batch = ragged_batch(objective, policy)
    assert torch.autograd.gradcheck(lambda p: loss_over(objective, p, batch), (policy,))


@pytest.mark.parametrize("extreme", [1e30, -1e30])
def test_padding_changes_nothing_under_extreme_values(objective, policy, extreme):
    """Whatever stands at masked positions, of the student, of pi_old or of the teacher, reaches neither side."""
    batch = ragged_batch(objective, policy)
    padded_BT = batch.mask_BT == 0

    def spoil(x):
        if not isinstance(x, torch.Tensor) or x.ndim < 2 or not x.is_floating_point():
            return x
        return torch.where(padded_BT.view(*padded_BT.shape, *[1] * (x.ndim - 2)), extreme, x)

    def spoiled(whole):
        return replace(whole, **{f.name: spoil(getattr(whole, f.name)) for f in fields(whole)})

    other = spoiled(batch)
    if batch.teacher is not None:
        other = replace(other, teacher=spoiled(batch.teacher))
    plain, extreme_one = loss_over(objective, policy, batch), loss_over(objective, policy, other, scores=spoiled)
    assert plain.isfinite()
    assert torch.equal(extreme_one, plain)
    plain_gradient = gradient(plain, policy)
    assert torch.equal(gradient(extreme_one, policy), plain_gradient)
    assert plain_gradient.isfinite().all()


def test_padding_tokens_are_not_read(objective, policy):
    batch = ragged_batch(objective, policy)
    scrambled = torch.where(batch.mask_BT > 0, batch.tokens.response_BT, (batch.tokens.response_BT + 1) % 3)
    other = replace(batch, tokens=replace(batch.tokens, response_BT=scrambled))
    assert torch.equal(*(gradient(loss_over(objective, policy, x), policy) for x in (batch, other)))
    for name in ("mask_BT", "advantage_BT", "teacher_weight_BT"):
        ours, theirs = (getattr(objective.credit(x, 1), name) for x in (batch, other))
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


@pytest.mark.parametrize("variant", those(lambda o: {Need.REWARD, Need.OLD_LOGPROBS} <= o.needs), indirect=True)
def test_equal_rewards_give_exactly_no_policy_gradient(objective, policy):
    silent = without_teacher(objective)
    batch = ragged_batch(objective, policy)
    # the mean of three times 0.1 is one rounding off 0.1
    equal = {"reward_B": torch.full((8,), 0.1, dtype=torch.float64), "group_B": torch.arange(8) // 3}
    credit = silent.credit(replace(batch, **equal), 1)
    assert (credit.advantage_BT == 0).all()


def without_teacher(objective):
    """The same objective, its teacher's part at weight 0."""
    if hasattr(objective, "weight"):
        return replace(objective, weight=(0.0, 0.0, 0.0))
    if hasattr(objective, "beta"):
        return replace(objective, beta=0.0, schedule="constant")
    if hasattr(objective, "last_distilled"):
        return replace(objective, last_distilled=0)
    return objective


@pytest.mark.parametrize(
    "variant",
    those(lambda o: isinstance(o, GRPO) and Need.OLD_LOGPROBS in o.needs and Need.DEMONSTRATION not in o.needs),
    indirect=True,
)
def test_with_no_weight_on_the_teacher_it_is_grpo(objective, policy):
    shared = {f.name: getattr(objective, f.name) for f in fields(GRPO)}
    batch = ragged_batch(objective, policy)
    found, grpo = (gradient(loss_over(o, policy, batch), policy) for o in (without_teacher(objective), GRPO(**shared)))
    assert torch.equal(found, grpo)


# a sum whose entries are cut is no divergence (tests/objectives/test_sdpo.py shows it), and eopd's is of some states
DIVERGENCES = those(
    lambda o: o.divergence is not None and getattr(o, "entry_clip", None) is None and not isinstance(o, EOPD)
)


@pytest.mark.parametrize("variant", DIVERGENCES, indirect=True)
def test_a_divergence_is_0_between_equals_and_positive_otherwise(objective):
    ours, theirs = table(0).flatten(0, 1).log_softmax(-1), table(1).flatten(0, 1).log_softmax(-1)
    # float64 sums over three tokens; the alpha-beta divergence divides them by alpha beta, which is 0.14
    assert objective.divergence(ours, ours).abs().max() < 1e-14
    assert objective.divergence(ours, theirs).min() > 1e-4


FIELDS = {
    Need.REWARD: "reward_B",
    Need.OLD_LOGPROBS: "old_logprobs_BT",
    Need.OLD_AT_TEACHER_TOPK: "old_at_teacher_topk_BTK",
    Need.TEACHER_AT_STUDENT_TOPK: "old_topk_logprobs_BTK",
    Need.REFERENCE_SAMPLED: "reference_logprobs_BT",
}
TEACHER_FIELDS = {
    Need.TEACHER_SAMPLED: ["sampled_logprobs_BT"],
    Need.TEACHER_TOPK: ["topk_ids_BTK", "topk_logprobs_BTK"],
    Need.TEACHER_SAMPLE: ["sample_ids_BT"],
    Need.TEACHER_FULL: ["hidden_BTH", "head"],
    Need.TEACHER_AT_STUDENT_TOPK: ["at_student_topk_BTK"],
    Need.STUDENT_AT_OLD_TOPK: ["student_topk_ids_BTK"],
}


def test_reads_only_what_it_declares(objective, policy):
    """With everything it did not ask for taken away, it gives the same loss."""
    batch = ragged_batch(objective, policy)
    gone = {name: None for need, name in FIELDS.items() if need not in objective.needs}
    bare = replace(batch, **gone)
    assert torch.equal(*(gradient(loss_over(objective, policy, x), policy) for x in (bare, batch)))


LATE = 1_000  # a step at which every schedule has ended


def test_asks_for_nothing_it_does_not_read(objective, policy):
    """Each thing it declares, taken away, is missed in one step or another; demonstrations are in its mix."""
    batch = ragged_batch(objective, policy)
    for need in objective.needs:
        if need == Need.DEMONSTRATION:
            assert objective.mix(0, 4).demonstrations > 0
            continue
        without = {FIELDS[need]: None} if need in FIELDS else {}
        if need in TEACHER_FIELDS:
            without["teacher"] = replace(batch.teacher, **dict.fromkeys(TEACHER_FIELDS[need]))
        with pytest.raises((AssertionError, IndexError, RuntimeError, TypeError)):
            for step in (1, LATE):
                loss_over(objective, policy, replace(batch, **without), step=step)


def test_is_frozen_and_every_default_is_in_its_yaml(objective, variant):
    written = set(composed(f"objective={variant.split()[0]}").objective) - {"_target_"}
    assert written == {f.name for f in fields(objective) if f.init}
    with pytest.raises((AttributeError, TypeError)):
        objective.reduction = "token"


@pytest.mark.parametrize("name", group_choices("objective"))
def test_every_choice_of_every_switch_is_a_documented_variant(name):
    """So that none escapes the laws. How losses are reduced is every objective's, and proven in tests/functional."""
    built = [build(variant) for variant in VARIANTS if variant.split()[0] == name]
    inherited = set(get_type_hints(GRPO)) if name != "grpo" else {"reduction", "clip_low", "clip_high"}
    for option, kind in get_type_hints(type(built[0])).items():
        if option in inherited or option.startswith("_") or (get_origin(kind) is not Literal and kind is not bool):
            continue
        choices = {True, False} if kind is bool else set(get_args(kind))
        assert choices == {getattr(objective, option) for objective in built}, option


def test_loss_of_the_whole_batch_is_finite(objective, policy):
    batch = batch_of(SEQUENCES, policy.detach(), table(1), torch.zeros(27, dtype=torch.long), objective)
    assert loss_of(objective, policy, replace(batch, off_policy_B=torch.arange(27) >= 20)).isfinite()
