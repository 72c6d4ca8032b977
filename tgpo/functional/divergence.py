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

# log of the most that a top-k may hold before the rest is too small for float32 to tell from rounding
MOST_IN_TOPK = -1e-7
# exp of this is 0 in float64 too: a probability of 0 without an infinite logarithm
LOG_OF_NOTHING = -1e4


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


def clipped_jsd(student_NV: Tensor, teacher_NV: Tensor, beta: float, entry_clip: float) -> Tensor:
    """`sum_v min(d_v, entry_clip)`, where d_v are the entries of the sum over the vocabulary in `generalized_jsd`.

    It is no divergence any more. Entries are clipped from above only, so it can be negative; and a clipped entry has no
    gradient, so that at beta = 0 it lowers the student's probability of exactly the tokens that the teacher finds much
    likelier. It keeps the minimum at `student = teacher` as a stationary point alone. As in the code of OPSD, arXiv
    2601.18734 (option `jsd_token_clip`).
    """
    entries_NV = _entries(student_NV.clamp(min=LOG_OF_NOTHING), teacher_NV.detach().clamp(min=LOG_OF_NOTHING), beta)
    return entries_NV.clamp(max=entry_clip).sum(-1)


def with_tail(logprobs_NK: Tensor) -> Tensor:
    """Appends `log(1 - sum_k p_k)`, the log-probability of all other tokens together, `[N,K+1]`.

    A rest below 1e-7 cannot be told from float32's rounding: it is put at 1e-7, without gradient, which leaves a
    divergence of two such rows as it is. As in the code of SDPO, arXiv 2601.20802.
    """
    covered_N1 = logprobs_NK.logsumexp(-1, keepdim=True).clamp(max=MOST_IN_TOPK)
    return torch.cat([logprobs_NK, torch.log(-torch.expm1(covered_N1))], -1)


def topk_distributions(student_NK: Tensor, teacher_NK: Tensor, tail: bool) -> tuple[Tensor, Tensor]:
    """Returns two distributions from log-probabilities of the same k tokens, the teacher's detached.

    With a `tail` of one more entry for all other tokens, `[N,K+1]`, a divergence is a lower bound of that of the
    complete distributions (data processing) and reaches it when k covers the vocabulary. Without, both are
    renormalised, `[N,K]`, and how much probability either side has elsewhere is not seen.
    """
    teacher_NK = teacher_NK.detach()
    if tail:
        return with_tail(student_NK), with_tail(teacher_NK)
    return student_NK.log_softmax(-1), teacher_NK.log_softmax(-1)


def kl(p_NV: Tensor, q_NV: Tensor) -> Tensor:
    """`KL(p || q)`; a token of probability 0 under p contributes 0, whatever its probability under q."""
    difference_NV = torch.where(p_NV > -math.inf, p_NV - q_NV, 0.0)
    return (p_NV.exp() * difference_NV).sum(-1)


def _entries(student_NV: Tensor, teacher_NV: Tensor, beta: float) -> Tensor:
    """Returns the entries of the sum over the vocabulary in `generalized_jsd`, by autograd."""
    if beta == 0:
        return teacher_NV.exp() * (teacher_NV - student_NV)
    if beta == 1:
        return student_NV.exp() * (student_NV - teacher_NV)
    mixture_NV = torch.logaddexp(student_NV + math.log1p(-beta), teacher_NV + math.log(beta))
    from_student_NV = student_NV.exp() * (student_NV - mixture_NV)
    return beta * teacher_NV.exp() * (teacher_NV - mixture_NV) + (1 - beta) * from_student_NV


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
