"""Statistics that compare two next-token distributions, position by position.

Each is exact given the two distributions: nothing here depends on which token was sampled. Values are in nats;
probabilities are float32 or wider. If k exceeds the vocabulary, the complete vocabulary is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tgpo.divergence.request import DivergenceOptions
from tgpo.functional.divergence import kl, topk_forward_kl, topk_reverse_kl
from tgpo.metrics.agreement import topk_overlap


class RowStatistics:
    """A `RowDivergence` with several values per row, in the order of `names`; the policy's chunked head calls it."""

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
        """Returns `[N]` values by name, from log-probabilities of the complete vocabulary."""
        options, vocabulary = self.options, student_NV.shape[-1]
        k = min(options.topk, vocabulary)
        student_top = student_NV.topk(min(max(k, *options.overlap_at), vocabulary), dim=-1)
        teacher_top = teacher_NV.topk(min(max(k, *options.overlap_at, *options.coverage_at), vocabulary), dim=-1)
        student_NK, teacher_NK = student_top.values[:, :k], teacher_NV.gather(-1, student_top.indices[:, :k])
        student_at_teacher_top_NJ = student_NV.gather(-1, teacher_top.indices)
        return {
            "reverse_kl": kl(student_NV, teacher_NV),
            "forward_kl": kl(teacher_NV, student_NV),
            "student_entropy": entropy(student_NV),
            "teacher_entropy": entropy(teacher_NV),
            "reverse_kl_topk": topk_reverse_kl(student_NK, teacher_NK),
            "reverse_kl_topk_part": kl(student_NK, teacher_NK),
            "student_topk_mass": student_NK.exp().sum(-1),
            "teacher_at_student_topk_mass": teacher_NK.exp().sum(-1),
            "forward_kl_topk": topk_forward_kl(student_at_teacher_top_NJ[:, :k], teacher_top.values[:, :k]),
            "student_eos": student_NV[:, self.eos_ids].exp().sum(-1),
            "teacher_eos": teacher_NV[:, self.eos_ids].exp().sum(-1),
            **{
                f"overlap@{j}": topk_overlap(student_top.indices[:, :j], teacher_top.indices[:, :j])
                for j in options.overlap_at
            },
            **{f"teacher_coverage@{j}": teacher_top.values[:, :j].exp().sum(-1) for j in options.coverage_at},
            **{f"student_coverage@{j}": student_at_teacher_top_NJ[:, :j].exp().sum(-1) for j in options.coverage_at},
        }


def entropy(logprobs_NV: Tensor) -> Tensor:
    return torch.special.entr(logprobs_NV.exp()).sum(-1)
