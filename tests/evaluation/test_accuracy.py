from __future__ import annotations

import itertools

import pytest

from tgpo.evaluation.accuracy import evaluate, pass_at_k
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.tasks.arithmetic import Arithmetic


def test_pass_at_k_is_the_chance_that_a_draw_of_k_holds_a_right_one():
    for n in range(1, 6):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(any(d) for d in draws) / len(draws))


@pytest.mark.parametrize("arguments", [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_impossible_counts_are_refused(arguments):
    with pytest.raises(ValueError, match="does not exist"):
        pass_at_k(*arguments)


def test_the_metrics_agree_with_the_rewards(student_model, tokenizer):
    task = Arithmetic(eval_two_terms=8, eval_more_terms=8)
    result = evaluate(task, HFRollout(student_model, tokenizer, [1]), tokenizer, Sampling(3, 1.0, 40, 0), 512)
    by_problem = [result.rewards[i : i + 3] for i in range(0, 48, 3)]
    assert result.metrics["eval/arithmetic/accuracy"] == sum(result.rewards) / 48
    assert result.metrics["eval/arithmetic/avg@3"] == sum(result.rewards) / 48
    assert result.metrics["eval/arithmetic/pass@3"] == sum(any(r) for r in by_problem) / 16
    assert result.metrics["eval/arithmetic/truncated_fraction"] == sum(
        r.finish_reason == "length" for r in result.rollouts
    ) / len(result.rollouts)
