from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tgpo.metrics.agreement import divergence_metrics, topk_overlap
from tgpo.metrics.lengths import length_metrics, repeats_itself, reward_metrics
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Problem, Rollout
from tgpo.types.teacher import TeacherSignal


def rollout(length: int, finish: str) -> Rollout:
    return Rollout(Problem("p", "1+1", "2", "t"), 0, (1,), (5,) * length, None, "student", finish, 0)  # pyright: ignore


def test_lengths_by_verdict():
    rollouts = [rollout(2, "eos"), rollout(4, "eos"), rollout(9, "length")]
    metrics = length_metrics(rollouts, ["a", "b", "c"], torch.tensor([1.0, 0.0, 0.0]), [0])
    assert metrics["response/length_mean"] == 5
    assert metrics["response/length_correct_mean"] == 2
    assert metrics["response/length_incorrect_mean"] == 6.5
    assert metrics["response/truncated_fraction"] == pytest.approx(1 / 3)


def test_an_empty_response_is_eos_alone_or_nothing():
    ended = replace(rollout(2, "eos"), response_ids=(7, 5))
    rollouts = [rollout(1, "eos"), rollout(0, "length"), ended, replace(ended, response_ids=(7,))]
    assert length_metrics(rollouts, [""] * 4, torch.zeros(4), [5, 6])["response/empty_fraction"] == 0.5
    assert length_metrics(rollouts, [""] * 4, torch.zeros(4), [6])["response/empty_fraction"] == 0.25


def test_the_mean_of_nothing_is_absent():
    metrics = length_metrics([rollout(2, "eos")], ["a"], torch.tensor([0.0]), [0])
    assert "response/length_correct_mean" not in metrics


def test_rewards_by_group():
    metrics = reward_metrics(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1]))
    assert metrics == {
        "reward/mean": 0.25,
        "reward/group_std": 0.25,
        "reward/solved_groups": 0.5,
        "reward/equal_groups": 0.5,
    }


def test_repetition():
    assert repeats_itself("46*=*" * 20)
    assert not repeats_itself(r"37+85=122;122-12=110;110+99=209;209-54=155;\boxed{155} and so it is, no more to say")
    assert not repeats_itself("1;1;1;1")


def test_divergence_golden():
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    tokens = TokenBatch(torch.zeros(1, 0), torch.zeros(1, 0), torch.tensor([[5, 6, 0]]), mask)
    teacher = TeacherSignal(torch.tensor([[-1.0, -3.0, -99.0]]), torch.tensor([[[5, 1], [7, 6], [0, 0]]]), None)
    metrics = divergence_metrics(tokens.response_BT, tokens.mask_BT, torch.tensor([[-0.5, -0.5, 7.0]]), teacher)
    assert metrics["divergence/reverse_kl_k1"] == pytest.approx(1.5)
    assert metrics["divergence/teacher_perplexity"] == pytest.approx(torch.tensor(2.0).exp().item())
    assert metrics["divergence/mismatch"] == 0.5


def test_overlap_counts_common_tokens_whatever_their_order():
    ours, theirs = torch.tensor([[[1, 2, 3]]]), torch.tensor([[[3, 9, 1]]])
    assert topk_overlap(ours, theirs).item() == pytest.approx(2 / 3)
