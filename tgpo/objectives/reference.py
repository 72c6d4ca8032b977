"""The divergence from the reference, which `grpo` and what is built on it share with `stable_opd`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tgpo.functional import divergence
from tgpo.objectives.base import apply_importance_weights
from tgpo.types.batch import ScoredBatch
from tgpo.types.scores import StudentScores

ReferenceEstimator = Literal["k3", "k2"]
ESTIMATES = {"k3": divergence.k3, "k2": divergence.k2}


def reference_divergence(student: StudentScores, batch: ScoredBatch, estimator: ReferenceEstimator) -> Tensor:
    r"""Returns `k(log pi_theta(a_t|s_t), log pi_ref(a_t|s_t))`, `[B,T]`: the student against itself before training.

    On-policy, the expected gradient of `k2` (nats squared) is that of `KL(pi_theta || pi_ref)` in the student's states
    and the one of `k3` (nats), GRPO's own, that of the FORWARD `KL(pi_ref || pi_theta)`. Newer code multiplies k3 by
    the ratio `pi_theta / pi_old`, which makes its gradient the reverse KL's; here both are plain. Detached: pi_ref.
    Source: DeepSeekMath, arXiv 2402.03300, equation 4 (k3).
    """
    assert batch.reference_logprobs_BT is not None
    estimate = ESTIMATES[estimator]
    return apply_importance_weights(estimate(student.logprobs_BT, batch.reference_logprobs_BT), batch)
