"""Divergences between student and teacher, token by token: estimates from the sampled token, and sums over a top-k.

All take natural log-probabilities and return nats a token (k2: nats squared). The teacher's side is detached.
Source of the k1, k2, k3 names: Schulman, "Approximating KL Divergence" (2020), for `KL(student || teacher)`, whose
log-ratio is `log pi_theta(a_t) - log pi_T(a_t)`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def k2(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`1/2 logratio^2`. As a loss on-policy, its expected gradient is that of the per-state reverse KL."""
    return 0.5 * (logprobs_BT - teacher_logprobs_BT.detach()).square()


def k3(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`exp(-logratio) - 1 + logratio`. An unbiased VALUE; as a loss its gradient is the forward KL's."""
    logratio_BT = logprobs_BT - teacher_logprobs_BT.detach()
    return torch.exp(-logratio_BT) - 1 + logratio_BT


def score_function(logprobs_BT: Tensor, teacher_logprobs_BT: Tensor) -> Tensor:
    """`sg[logratio] * log pi_theta`: its value means nothing, its expected gradient is the per-state reverse KL's."""
    return (logprobs_BT - teacher_logprobs_BT).detach() * logprobs_BT


def topk_reverse_kl(student_BTK: Tensor, teacher_BTK: Tensor) -> Tensor:
    """`KL(student || teacher)` with both sides renormalised on the same k tokens; never negative, 0 for k = 1."""
    student_BTK, teacher_BTK = student_BTK.log_softmax(-1), teacher_BTK.detach().log_softmax(-1)
    return (student_BTK.exp() * (student_BTK - teacher_BTK)).sum(-1)


def topk_forward_kl(student_BTK: Tensor, teacher_BTK: Tensor) -> Tensor:
    """`sum_k q_k (log q_k - log pi_theta(v_k))`, q the teacher renormalised on its top k, the student not."""
    teacher_BTK = teacher_BTK.detach().log_softmax(-1)
    return (teacher_BTK.exp() * (teacher_BTK - student_BTK)).sum(-1)
