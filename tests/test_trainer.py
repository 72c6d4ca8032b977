"""The update: independent of micro-batches, right in its ratios, safe from numbers that are not finite."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.compose import group_choices
from tests.parts import small, weights
from tgpo.training.trainer import Trainer
from tgpo.types.scores import TokenLoss

OBJECTIVES = group_choices("objective")


def stepped(*overrides: str, steps: int = 1) -> tuple[Trainer, dict]:
    trainer, record = small(*overrides).trainer, {}
    for k in range(1, steps + 1):
        record, _ = trainer.step(k)
    return trainer, record


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_micro_batches_do_not_change_the_update(objective):
    """One pass over everything, one a group, one a sequence: the same loss, gradient norm and metrics."""
    whole, by_group, tiny = (
        stepped(f"objective={objective}", f"metrics.gradient_variance_every={every}",
                f"train.max_tokens_per_micro_batch={budget}")[1]
        for every, budget in ((0, 100_000), (1, 100_000), (0, 1))
    )  # fmt: skip
    same = [name for name in whole if name.startswith(("loss/", "policy/", "divergence/")) or name == "gradient/norm"]
    assert "loss/total" in same
    for name in same:
        # float32 sums in another order
        assert by_group[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name
        assert tiny[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("objective", ["tgpo", "rkl", "luffy"])
def test_a_gradient_alone_is_the_one_that_is_stepped_with(objective):
    alone, trainer = (small(f"objective={objective}").trainer for _ in range(2))
    before = weights(alone)
    gradient_P = alone.gradient(1, step=1)
    record, _ = trainer.step(1)
    assert torch.equal(weights(alone), before)
    # per group and whole: float32 sums in another order
    assert float(gradient_P.double().norm()) == pytest.approx(record["gradient/norm"], rel=1e-4)
    assert all(p.grad is None for p in alone.parameters)


def test_chunks_of_the_vocabulary_do_not_change_the_update():
    a, b = (stepped(f"train.max_logits={n}")[1] for n in (2**24, 101 * 16))
    assert b["loss/total"] == pytest.approx(a["loss/total"], rel=1e-5)
    assert b["gradient/norm"] == pytest.approx(a["gradient/norm"], rel=1e-4)


def test_sketch_and_exact_measure_the_same_update():
    exact, sketch = (stepped(f"metrics.gradient_variance_method={m}")[1] for m in ("exact", "sketch"))
    assert sketch["gradient/norm"] == pytest.approx(exact["gradient/norm"], rel=1e-5)
    # 65,536 buckets: the sketched square norms are within a few per cent
    assert sketch["gradient/variance"] == pytest.approx(exact["gradient/variance"], rel=0.1)


def test_ratios_leave_one_only_after_the_first_update():
    """With two updates a batch the second meets a policy that has moved; with one, nothing is ever clipped."""
    loud = "train.lr=0.01"
    _, once = stepped(loud, "train.warmup_steps=0", "objective=rkl")
    _, twice = stepped(loud, "train.warmup_steps=0", "objective=rkl", "train.updates_per_batch=2")
    assert once["policy/clip_fraction"] == 0
    assert twice["policy/clip_fraction"] > 0
    assert once["policy/sampler_logprob_gap"] < 1e-4
    assert twice["policy/sampler_logprob_gap"] < 1e-4  # measured before the policy moves


def test_each_update_reduces_over_its_own_tokens():
    """Two updates at a learning rate of nearly nothing: each has the loss of its half of the groups."""
    quiet = "train.lr=1e-12"
    parts = small(quiet, "train.updates_per_batch=2")
    trainer, seen = parts.trainer, []
    original = trainer._update
    trainer._update = lambda k, number, update: seen.append(update) or original(k, number, update)
    trainer.step(1)
    assert [int(update.row_U.numel()) for update in seen] == [8, 8]
    for update in seen:
        assert update.weights_BT.sum().item() == pytest.approx(1.0)
        outside = torch.ones(16, dtype=torch.bool)
        outside[update.row_U] = False
        assert update.weights_BT[outside].sum() == 0


def test_a_loss_that_is_not_finite_skips_the_update():
    trainer = small("objective=grpo").trainer
    objective = trainer.objective

    class Broken(type(objective)):
        def loss(self, student, batch, credit):
            return TokenLoss(super().loss(student, batch, credit).loss_BT * float("nan"))

    before, state = weights(trainer), copy.deepcopy(trainer.optimizer.state_dict())
    trainer.objective = Broken()
    record, _ = trainer.step(1)
    assert record["train/skipped_updates"] == 1
    assert "loss/total" not in record
    assert torch.equal(weights(trainer), before)
    assert trainer.optimizer.state_dict()["state"] == state["state"]
    assert all(p.grad is None for p in trainer.parameters)


@pytest.mark.slow
def test_entropy_bonus_raises_entropy():
    plain, with_bonus = (
        stepped(f"train.entropy_bonus={bonus}", "objective=grpo", "train.warmup_steps=0", steps=6)[1]
        for bonus in (0.0, 1.0)
    )
    assert with_bonus["policy/entropy"] > plain["policy/entropy"]


def test_gradient_is_clipped_after_it_is_measured():
    trainer, record = stepped("train.max_grad_norm=1e-9", "train.warmup_steps=0")
    assert record["gradient/norm"] > 0.1
    assert record["gradient/variance"] > 0
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_bfloat16_trains_float32_weights():
    """The forward pass is in bfloat16, the weights and the softmax are not: small steps are not rounded away."""
    exact, rounded = (stepped(f"train.dtype={dtype}", "train.lr=1e-6") for dtype in ("float32", "bfloat16"))
    assert all(p.dtype == torch.float32 for p in rounded[0].parameters)
    assert (weights(rounded[0]) - weights(small().trainer)).abs().max() > 0
    # the same problems; bfloat16 changes a token here and there
    assert rounded[1]["divergence/reverse_kl_k1"] == pytest.approx(exact[1]["divergence/reverse_kl_k1"], rel=0.3)
    assert 0 < rounded[1]["policy/sampler_logprob_gap"] < 0.1


def test_groups_without_a_demonstration_leave_their_update_smaller():
    """Two updates of two groups each; the second's have none and it is left out, not filled from the first."""
    trainer = small("objective=sft", "train.updates_per_batch=2").trainer
    problems = trainer.collector.task.train_problems(0, 1, 4)
    known = trainer.collector.demonstrations.by_problem
    for problem in problems[2:]:
        known.pop((problem.id, problem.prompt), None)
    record, collected = trainer.step(1)
    assert collected.batch.group_B.unique().tolist() == [0, 1]
    assert (record["train/updates"], record["demonstrations/missing"]) == (1, 2)
