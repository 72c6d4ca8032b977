"""Which of the teacher's tokens the student is trained on in each state, and the loss on them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tgpo.functional.divergence import topk_forward_kl
from tgpo.types.batch import ScoredBatch
from tgpo.types.scores import StudentScores

Target = Literal["argmax", "sample", "topk"]


def guidance(target: Target, student: StudentScores, batch: ScoredBatch) -> Tensor:
    """Returns `-log pi_theta(y*_t | s_t)`, or for `topk` the forward KL on the teacher's best tokens, `[B,T]`, nats a
    token."""
    if target == "sample":
        assert student.at_teacher_sample_BT is not None
        return -student.at_teacher_sample_BT
    assert student.at_teacher_topk_BTK is not None
    if target == "argmax":
        return -student.at_teacher_topk_BTK[..., 0]
    assert batch.teacher is not None and batch.teacher.topk_logprobs_BTK is not None
    return topk_forward_kl(student.at_teacher_topk_BTK, batch.teacher.topk_logprobs_BTK)


def choice(target: Target, batch: ScoredBatch) -> Tensor:
    """Returns y*_t, for `topk` the first of the teacher's best, `[B,T]`."""
    assert batch.teacher is not None
    if target == "sample":
        assert batch.teacher.sample_ids_BT is not None
        return batch.teacher.sample_ids_BT
    assert batch.teacher.topk_ids_BTK is not None
    return batch.teacher.topk_ids_BTK[..., 0]
