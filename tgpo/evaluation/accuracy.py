"""avg@k, pass@k and response lengths on held-out problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

from tgpo.rollout.base import RolloutEngine, Sampling, decode_responses, in_parts
from tgpo.runtime.collectives import run_on_main
from tgpo.tasks.base import Questions, Rewards
from tgpo.types.problem import Rollout


@dataclass(frozen=True)
class Evaluation:
    """`metrics` has the means under contract names, `by_problem` the values they are means of, `{metric: one value per
    problem}`. `rollouts`, their `responses` and `rewards` are in the order of the problems."""

    metrics: dict[str, float]
    by_problem: dict[str, list[float]]
    rollouts: Sequence[Rollout]
    responses: Sequence[str]
    rewards: Sequence[float]
    timeouts: int


def verified(questions: Questions, rollouts: Sequence[Rollout], responses: Sequence[str]) -> Rewards:
    """Returns the rewards. Only the main process judges, so that a verifier timeout is the same on all processes."""
    return run_on_main(lambda: questions.rewards([r.problem for r in rollouts], responses))


def evaluate(
    questions: Questions,
    engine: RolloutEngine,
    tokenizer,
    sampling: Sampling,
    rows_at_once: int,
    pass_at: Sequence[int] = (),
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Samples n responses to every held-out problem and rewards them, about `rows_at_once` responses at a time.

    `accuracy` and `avg@n` are the mean reward over all samples; `pass@k` is the probability that at least one of k
    samples is right, for k = n and for each k of `pass_at` that is smaller. `tell` is called after each batch with the
    number of problems done and their total.
    """
    problems, n = questions.eval_problems(), sampling.samples_per_problem
    rollouts, responses, rewards, timeouts = list[Rollout](), list[str](), list[float](), 0
    for part in in_parts(engine, problems, sampling, rows_at_once):
        written = decode_responses(tokenizer, part)
        verdicts = verified(questions, part, written)
        rollouts += part
        responses += written
        rewards += verdicts.values
        timeouts += verdicts.timeouts
        tell(len(rollouts) // n, len(problems))
    right = [int(sum(rewards[i : i + n])) for i in range(0, len(rollouts), n)]
    by_problem = {"accuracy": [c / n for c in right]}
    by_problem |= {f"pass@{k}": [pass_at_k(n, c, k) for c in right] for k in sorted({*pass_at, n}) if k <= n}
    mean = sum(rewards) / len(rollouts)
    prefix = f"eval/{questions.name}"
    metrics = {
        f"{prefix}/accuracy": mean,
        f"{prefix}/avg@{n}": mean,
        **{f"{prefix}/{key}": sum(by_problem[key]) / len(problems) for key in by_problem if key != "accuracy"},
        f"{prefix}/length_mean": sum(len(r.response_ids) for r in rollouts) / len(rollouts),
        f"{prefix}/truncated_fraction": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
    }
    return Evaluation(metrics, by_problem, rollouts, responses, rewards, timeouts)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Returns the unbiased estimate `1 - C(n-c, k) / C(n, k)` for n samples with c correct.

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {correct} right in {samples} samples does not exist")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
