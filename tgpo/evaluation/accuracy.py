"""avg@k, pass@k and response lengths on a task's held-out problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from tgpo.rollout.base import RolloutEngine, Sampling
from tgpo.tasks.base import Task
from tgpo.types import Rollout


@dataclass(frozen=True)
class Evaluation:
    """`metrics` under contract names; `rollouts` and their `responses` and `rewards`, problem by problem."""

    metrics: dict[str, float]
    rollouts: Sequence[Rollout]
    responses: Sequence[str]
    rewards: Sequence[float]


def evaluate(task: Task, engine: RolloutEngine, tokenizer, sampling: Sampling) -> Evaluation:
    """Samples k responses to every held-out problem and rewards them.

    `accuracy` and `avg@k` are the mean reward over all samples; `pass@k` the probability that one of k is right.
    """
    problems, k = task.eval_problems(), sampling.samples_per_problem
    rollouts = engine.generate(problems, sampling)
    responses = tokenizer.batch_decode([r.response_ids for r in rollouts], skip_special_tokens=True)
    rewards = task.rewards([r.problem for r in rollouts], responses)
    right = [int(sum(rewards.values[i : i + k])) for i in range(0, len(rollouts), k)]
    mean = sum(rewards.values) / len(rollouts)
    prefix = f"eval/{task.name}"
    metrics = {
        f"{prefix}/accuracy": mean,
        f"{prefix}/avg@{k}": mean,
        f"{prefix}/pass@{k}": sum(pass_at_k(k, c, k) for c in right) / len(problems),
        f"{prefix}/length_mean": sum(len(r.response_ids) for r in rollouts) / len(rollouts),
        f"{prefix}/truncated_fraction": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
    }
    return Evaluation(metrics, rollouts, responses, rewards.values)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased `1 - C(n-c, k) / C(n, k)`; Chen et al. 2021, arXiv 2107.03374, equation 1."""
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {correct} right in {samples} samples does not exist")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
