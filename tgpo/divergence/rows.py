"""What two next-token distributions say of each other, position by position.

Each is exact given the two distributions: nothing here depends on which token was sampled. Nats; probabilities are
float32 or wider. A k beyond the vocabulary means all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tgpo.divergence.request import DivergenceOptions
from tgpo.functional.divergence import kl, topk_forward_kl, topk_reverse_kl
from tgpo.metrics.agreement import topk_overlap


class RowStatistics:
    """A `RowDivergence` of several values a row, `names` in order, for the policy's chunked head to call."""

    def __init__(self, options: DivergenceOptions, eos_ids: Sequence[int]) -> None:
        self.options, self.eos_ids = options, list(eos_ids)
        self.names = (
            *("reverse_kl", "forward_kl", "student_entropy", "teacher_entropy"),
            *("reverse_kl_topk", "reverse_kl_topk_part", "student_topk_mass", "teacher_at_student_topk_mass"),
            *("forward_kl_topk", "student_eos", "teacher_eos"),
            *(f"overlap@{k}" for k in options.overlap_at),
            *(f"{who}_coverage@{k}" for who in ("teacher", "student") for k in options.coverage_at),
        )

    def __call__(self, student_NV: Tensor, teacher_NV: Tensor) -> Tensor:
        values = self.values(student_NV, teacher_NV)
        return torch.stack([values[name] for name in self.names], -1)

    def values(self, student_NV: Tensor, teacher_NV: Tensor) -> dict[str, Tensor]:
        """By name, `[N]` each, from log-probabilities of the whole vocabulary."""
        options, vocabulary = self.options, student_NV.shape[-1]
        k = min(options.topk, vocabulary)
        own = student_NV.topk(min(max(k, *options.overlap_at), vocabulary), dim=-1)
        best = teacher_NV.topk(min(max(k, *options.overlap_at, *options.coverage_at), vocabulary), dim=-1)
        ours_NK, theirs_NK = own.values[:, :k], teacher_NV.gather(-1, own.indices[:, :k])
        at_best_NJ = student_NV.gather(-1, best.indices)
        return {
            "reverse_kl": kl(student_NV, teacher_NV),
            "forward_kl": kl(teacher_NV, student_NV),
            "student_entropy": entropy(student_NV),
            "teacher_entropy": entropy(teacher_NV),
            "reverse_kl_topk": topk_reverse_kl(ours_NK, theirs_NK),
            "reverse_kl_topk_part": kl(ours_NK, theirs_NK),
            "student_topk_mass": ours_NK.exp().sum(-1),
            "teacher_at_student_topk_mass": theirs_NK.exp().sum(-1),
            "forward_kl_topk": topk_forward_kl(at_best_NJ[:, :k], best.values[:, :k]),
            "student_eos": student_NV[:, self.eos_ids].exp().sum(-1),
            "teacher_eos": teacher_NV[:, self.eos_ids].exp().sum(-1),
            **{f"overlap@{j}": topk_overlap(own.indices[:, :j], best.indices[:, :j]) for j in options.overlap_at},
            **{f"teacher_coverage@{j}": best.values[:, :j].exp().sum(-1) for j in options.coverage_at},
            **{f"student_coverage@{j}": at_best_NJ[:, :j].exp().sum(-1) for j in options.coverage_at},
        }


def entropy(logprobs_NV: Tensor) -> Tensor:
    return torch.special.entr(logprobs_NV.exp()).sum(-1)
