"""Divergences between two complete distributions that lie between or beyond the two KL divergences.

All take natural log-probabilities `[N,V]`, the student's first, and return nats per token, `[N]`. The teacher's side is
detached. T is the teacher, S the student.
"""

from __future__ import annotations

import math

from torch import Tensor

from tgpo.functional.divergence import LOG_OF_NOTHING, kl


def skew_forward_kl(student_NV: Tensor, teacher_NV: Tensor, alpha: float) -> Tensor:
    """`KL(T || alpha T + (1 - alpha) S)`. At alpha = 0 it is `KL(T || S)`; above, its gradient stays bounded where S is
    near 0. Source: DistiLLM, arXiv 2402.03898, equation 4 (alpha = 0.1)."""
    teacher_NV, student_NV = finite(teacher_NV.detach()), finite(student_NV)
    return kl(teacher_NV, mixed(teacher_NV, student_NV, alpha))


def skew_reverse_kl(student_NV: Tensor, teacher_NV: Tensor, alpha: float) -> Tensor:
    """`KL(S || (1 - alpha) T + alpha S)`. At alpha = 0 it is `KL(S || T)`. Source: DistiLLM, section 3.1."""
    teacher_NV, student_NV = finite(teacher_NV.detach()), finite(student_NV)
    return kl(student_NV, mixed(student_NV, teacher_NV, alpha))


def both_kl(student_NV: Tensor, teacher_NV: Tensor, forward: float) -> Tensor:
    """`(1 - forward) KL(S || T) + forward KL(T || S)`. Source: arXiv 2605.16826, which mixes the two directions."""
    teacher_NV, student_NV = finite(teacher_NV.detach()), finite(student_NV)
    return (1 - forward) * kl(student_NV, teacher_NV) + forward * kl(teacher_NV, student_NV)


def alpha_beta(student_NV: Tensor, teacher_NV: Tensor, alpha: float, beta: float) -> Tensor:
    r"""`-1/(alpha beta) sum_v [T^alpha S^beta - alpha/(alpha+beta) T^(alpha+beta) - beta/(alpha+beta) S^(alpha+beta)]`.

    (1, 0) is `KL(T || S)` and (0, 1) is `KL(S || T)`, both as limits; alpha weighs where the teacher is sure, and beta
    where the student is. Source: ABKD, arXiv 2505.04560; the divergence is that of Cichocki et al., 2011.
    """
    teacher_NV, student_NV = finite(teacher_NV.detach()), finite(student_NV)
    if beta == 0:
        return one_sided(teacher_NV, student_NV, alpha)
    if alpha == 0:
        return one_sided(student_NV, teacher_NV, beta)
    total = alpha + beta
    product_NV = (alpha * teacher_NV + beta * student_NV).exp()
    ends_NV = (alpha * (total * teacher_NV).exp() + beta * (total * student_NV).exp()) / total
    return (ends_NV - product_NV).sum(-1) / (alpha * beta)


def one_sided(p_NV: Tensor, q_NV: Tensor, power: float) -> Tensor:
    """`1/a^2 sum_v [p^a (log p^a - log q^a) - p^a + q^a]`, the limit of `alpha_beta` where the other power is 0."""
    p_powers_NV, q_powers_NV = (power * p_NV).exp(), (power * q_NV).exp()
    return (p_powers_NV * power * (p_NV - q_NV) - p_powers_NV + q_powers_NV).sum(-1) / power**2


def to_moving_target(student_NV: Tensor, teacher_NV: Tensor, share: float) -> Tensor:
    """`KL(M || S)`, `M` in proportion to `sg[S]^(1 - share) T^share`: from the student itself (0) to the teacher (1).

    Source: TAID, arXiv 2501.16937, equation 4, which interpolates logits.
    """
    teacher_NV, student_NV = finite(teacher_NV.detach()), finite(student_NV)
    target_NV = ((1 - share) * student_NV.detach() + share * teacher_NV).log_softmax(-1)
    return kl(target_NV, student_NV)


def mixed(p_NV: Tensor, q_NV: Tensor, share: float) -> Tensor:
    """Returns `log(share p + (1 - share) q)`."""
    if share == 0:
        return q_NV
    return (p_NV + math.log(share)).logaddexp(q_NV + math.log1p(-share))


def finite(logprobs_NV: Tensor) -> Tensor:
    """Returns the log-probabilities with those of 0 replaced by a number whose exponential is 0."""
    return logprobs_NV.clamp(min=LOG_OF_NOTHING)
