"""How far student and teacher are apart on the student's own rollouts, under contract names."""

from __future__ import annotations

import torch
from torch import Tensor

from tgpo.types import TeacherSignal


def divergence_metrics(
    response_BT: Tensor, mask_BT: Tensor, sampler_logprobs_BT: Tensor, teacher: TeacherSignal
) -> dict[str, float]:
    """Means over the tokens of the mask, which the student sampled.

    - `divergence/reverse_kl_k1`: mean of `log pi_old(a_t) - log pi_T(a_t)`, nats a token
    - `divergence/teacher_perplexity`: `exp` of the mean of `-log pi_T(a_t)`
    - `divergence/mismatch`: fraction of tokens that are not the teacher's argmax
    """
    assert teacher.sampled_logprobs_BT is not None
    total = mask_BT.sum()
    teacher_mean = (teacher.sampled_logprobs_BT * mask_BT).sum() / total
    metrics = {
        "divergence/reverse_kl_k1": ((sampler_logprobs_BT * mask_BT).sum() / total - teacher_mean).item(),
        "divergence/teacher_perplexity": torch.exp(-teacher_mean).item(),
    }
    if teacher.topk_ids_BTK is not None:
        differs_BT = teacher.topk_ids_BTK[..., 0] != response_BT
        metrics["divergence/mismatch"] = ((differs_BT * mask_BT).sum() / total).item()
    return metrics


def topk_overlap(student_ids_BTK: Tensor, teacher_ids_BTK: Tensor) -> Tensor:
    """`|top-k of the student and of the teacher| / k` at each position, `[B,T]`, in [0, 1]."""
    same_BTKK = student_ids_BTK[..., :, None] == teacher_ids_BTK[..., None, :]
    return same_BTKK.any(-1).float().mean(-1)
