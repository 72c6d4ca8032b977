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


class Counting:
    """An engine that remembers how much was asked of it at once."""

    def __init__(self, engine: HFRollout) -> None:
        self.engine, self.asked, self.seeds = engine, [], []

    def generate(self, problems, sampling):
        self.asked.append(len(problems) * sampling.samples_per_problem)
        self.seeds.append(sampling.seed)
        return self.engine.generate(problems, sampling)

    def sync(self, policy_version: int) -> None:
        self.engine.sync(policy_version)


def test_rows_are_decoded_a_few_at_a_time(student_model, tokenizer):
    task, told = Arithmetic(eval_two_terms=5, eval_more_terms=6), []
    engine = Counting(HFRollout(student_model, tokenizer, [1]))
    sampling = Sampling(4, 1.0, 24, 7)
    result = evaluate(task, engine, tokenizer, sampling, 12, tell=lambda done, total: told.append((done, total)))
    assert engine.asked == [12, 12, 12, 8]
    assert told == [(3, 11), (6, 11), (9, 11), (11, 11)]
    assert len(set(engine.seeds)) == 4  # no two parts share their draws
    assert [r.problem for r in result.rollouts[::4]] == task.eval_problems()
    one = Counting(HFRollout(student_model, tokenizer, [1]))
    evaluate(task, one, tokenizer, sampling, 1)
    assert one.asked == [4] * 11  # a problem's samples stay together


def test_greedy_responses_do_not_depend_on_how_many_are_decoded_at_once(student_model, tokenizer):
    task, engine = Arithmetic(eval_two_terms=6, eval_more_terms=10), HFRollout(student_model, tokenizer, [1])
    whole, parts = (evaluate(task, engine, tokenizer, Sampling(1, 0.0, 96, 0), rows) for rows in (512, 3))
    assert whole.responses == parts.responses
    assert whole.metrics == parts.metrics


def test_pass_at_k_for_the_ks_below_the_samples(student_model, tokenizer):
    task, engine = Arithmetic(eval_two_terms=8, eval_more_terms=8), HFRollout(student_model, tokenizer, [1])
    result = evaluate(task, engine, tokenizer, Sampling(4, 1.0, 40, 0), 512, (1, 2, 3, 8))
    found = {key.split("@")[1]: value for key, value in result.metrics.items() if "/pass@" in key}
    assert list(found) == ["1", "2", "3", "4"]
    assert found["1"] == pytest.approx(result.metrics["eval/arithmetic/accuracy"])
    assert sorted(found.values()) == list(found.values())
    right = [int(sum(result.rewards[i : i + 4])) for i in range(0, 64, 4)]
    pairs = [sum(any(d) for d in itertools.combinations([1] * c + [0] * (4 - c), 2)) / 6 for c in right]
    assert found["2"] == pytest.approx(sum(pairs) / 16)
    for key, values in result.by_problem.items():
        assert sum(values) / 16 == pytest.approx(result.metrics[f"eval/arithmetic/{key}"])


def test_pass_at_k_golden_numbers():
    """By hand: C(6,2)/C(10,2) = 15/45; C(2,4) = 0; C(31,16)/C(32,16) = 1/2."""
    assert pass_at_k(10, 4, 2) == pytest.approx(1 - 15 / 45)
    assert pass_at_k(5, 3, 4) == 1
    assert pass_at_k(32, 1, 16) == pytest.approx(0.5)
