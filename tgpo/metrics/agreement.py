"""Divergence between student and teacher on the student's own rollouts, under contract names."""

from __future__ import annotations

from torch import Tensor

from tgpo.types.teacher import TeacherSignal


def divergence_metrics(
    response_BT: Tensor, mask_BT: Tensor, sampler_logprobs_BT: Tensor, teacher: TeacherSignal
) -> dict[str, float]:
    """Returns means over the tokens of the mask, which the student sampled; empty when the mask is empty.

    - `divergence/reverse_kl_k1`: mean of `log pi_sampler(a_t) - log pi_T(a_t)`, nats per token
    - `divergence/teacher_perplexity`: `exp` of the mean of `-log pi_T(a_t)`
    - `divergence/mismatch`: fraction of tokens that are not the teacher's argmax
    """
    total = mask_BT.sum()
    if not total:
        return {}
    means = {
        name: (values_BT * mask_BT).sum() / total
        for name, values_BT in sampled_token_values(response_BT, sampler_logprobs_BT, teacher).items()
    }
    means["teacher_perplexity"] = means.pop("teacher_surprise").exp()
    return {f"divergence/{name}": mean.item() for name, mean in means.items()}


def sampled_token_values(response_BT: Tensor, logprobs_BT: Tensor, teacher: TeacherSignal) -> dict[str, Tensor]:
    """Returns the per-token values that the metrics average; `mismatch` only if the teacher returned top tokens."""
    assert teacher.sampled_logprobs_BT is not None
    values = {
        "reverse_kl_k1": logprobs_BT - teacher.sampled_logprobs_BT,
        "teacher_surprise": -teacher.sampled_logprobs_BT,
    }
    if teacher.topk_ids_BTK is not None:
        values["mismatch"] = (teacher.topk_ids_BTK[..., 0] != response_BT).float()
    return values


def topk_overlap(student_ids_BTK: Tensor, teacher_ids_BTK: Tensor) -> Tensor:
    """Returns `|top-k of the student and of the teacher| / k` at each position, `[B,T]`, in [0, 1]."""
    same_BTKK = student_ids_BTK[..., :, None] == teacher_ids_BTK[..., None, :]
    return same_BTKK.any(-1).float().mean(-1)
