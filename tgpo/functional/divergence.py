"""Divergences between student and teacher, token by token: estimates from the sampled token, sums over a top-k, and
sums over the whole vocabulary.

All take natural log-probabilities and return nats per token (k2: nats squared). The teacher's side is detached.
Source of the k1, k2, k3 names: Schulman, "Approximating KL Divergence" (2020), for `KL(student || teacher)`, whose
log-ratio is `log pi_theta(a_t) - log pi_T(a_t)`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def k2(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`1/2 logratio^2`. As a loss on-policy, its expected gradient is that of the per-state reverse KL."""
    return 0.5 * (logprobs_BT - teacher_logprobs_BT.detach()).square()


def k3(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`exp(-logratio) - 1 + logratio`. Its VALUE is unbiased, but as a loss its gradient is the forward KL's."""
    logratio_BT = logprobs_BT - teacher_logprobs_BT.detach()
    return torch.exp(-logratio_BT) - 1 + logratio_BT


def score_function(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`sg[logratio] * log pi_theta`. Its value is meaningless, its expected gradient is the per-state reverse KL's."""
    return (logprobs_BT - teacher_logprobs_BT).detach() * logprobs_BT


def topk_reverse_kl(student_BTK: Tensor, teacher_BTK: Tensor) -> Tensor:
    """`KL(student || teacher)` with both sides renormalised on the same k tokens; never negative, 0 for k = 1."""
    student_BTK, teacher_BTK = student_BTK.log_softmax(-1), teacher_BTK.detach().log_softmax(-1)
    return (student_BTK.exp() * (student_BTK - teacher_BTK)).sum(-1)


def topk_forward_kl(student_BTK: Tensor, teacher_BTK: Tensor) -> Tensor:
    """`sum_k q_k (log q_k - log pi_theta(v_k))`, q the teacher renormalised on its top k, the student not.

    Never negative, and 0 only where the student puts all its probability on these tokens in the teacher's shares.
    """
    teacher_BTK = teacher_BTK.detach().log_softmax(-1)
    return (teacher_BTK.exp() * (teacher_BTK - student_BTK)).sum(-1)


def forward_kl(student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
    """`KL(teacher || student) = sum_v pi_T(v) (log pi_T(v) - log pi_theta(v))`, over the last axis."""
    return generalized_jsd(student_NV, teacher_NV, 0.0)


def generalized_jsd(student_NV: Tensor, teacher_NV: Tensor, beta: float) -> Tensor:
    r"""`beta KL(T || M) + (1 - beta) KL(S || M)`, `M = (1 - beta) S + beta T`; at the ends `KL(T || S)`, `KL(S || T)`.

    As TRL computes it. At beta = 0 and 1 the sum itself is identically 0; the ends are the limits of the sum divided
    by `beta (1 - beta)`, so the scale jumps there: the loss at beta = 0.01 is about a hundredth of that at 0.

    Source: GKD, arXiv 2306.13649, equation 1, with the roles of the two ends as in TRL.
    """
    teacher_NV = teacher_NV.detach()
    if beta == 0:
        return _FromTeacher.apply(student_NV, teacher_NV)
    if beta == 1:
        return kl(student_NV, teacher_NV)
    return _ToMixture.apply(student_NV, teacher_NV, beta)


def kl(p_NV: Tensor, q_NV: Tensor) -> Tensor:
    """`KL(p || q)`; a token of probability 0 under p contributes 0, whatever its probability under q."""
    difference_NV = torch.where(p_NV > -math.inf, p_NV - q_NV, 0.0)
    return (p_NV.exp() * difference_NV).sum(-1)


class _FromTeacher(torch.autograd.Function):
    """`kl(teacher, student)`. The backward pass needs only `dL / d log s_v = -t_v`; autograd would keep more."""

    @staticmethod
    def forward(ctx: Any, student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
        t_NV = teacher_NV.exp()
        difference_NV = (teacher_NV - student_NV).masked_fill_(t_NV == 0, 0.0)
        ctx.save_for_backward(t_NV)
        return difference_NV.mul_(t_NV).sum(-1)

    @staticmethod
    def backward(ctx: Any, *upstream_N: Tensor) -> tuple[Tensor, None]:
        (t_NV,) = ctx.saved_tensors
        return -upstream_N[0][..., None] * t_NV, None


class _ToMixture(torch.autograd.Function):
    """`beta KL(T || M) + (1 - beta) KL(S || M)`, with its gradient in closed form: autograd takes three times as long.

    Since M depends on S too, all terms but one cancel: `dL / d log s_v = (1 - beta) s_v log(s_v / m_v)`.
    """

    @staticmethod
    def forward(ctx: Any, student_NV: Tensor, teacher_NV: Tensor, beta: float) -> Tensor:
        s_NV, t_NV = student_NV.exp(), teacher_NV.exp()
        # where both are 0, so is the mixture: the clamp makes the quotient a number, and xlogy then makes the term 0
        m_NV = torch.lerp(s_NV, t_NV, beta).clamp_(min=torch.finfo(s_NV.dtype).tiny)
        student_terms_NV = torch.xlogy(s_NV, s_NV / m_NV)
        teacher_term_N = torch.xlogy(t_NV, t_NV / m_NV).sum(-1)
        ctx.save_for_backward(student_terms_NV)
        ctx.beta = beta
        return beta * teacher_term_N + (1 - beta) * student_terms_NV.sum(-1)

    @staticmethod
    def backward(ctx: Any, *upstream_N: Tensor) -> tuple[Tensor, None, None]:
        (student_terms_NV,) = ctx.saved_tensors
        return (1 - ctx.beta) * upstream_N[0][..., None] * student_terms_NV, None, None
