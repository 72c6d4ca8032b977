"""The log-ratio of teacher to student at the sampled tokens, which several objectives take as an advantage."""

from __future__ import annotations

from torch import Tensor

from tgpo.types.batch import ScoredBatch


def log_ratio_to_teacher(batch: ScoredBatch) -> Tensor:
    """Returns `log pi_T(a_t|s_t) - log pi_old(a_t|s_t)`, `[B,T]`, nats per token; its mean is minus the reverse KL.

    What it is where no teacher scored a response means nothing: multiply by `batch.teacher_mask_BT`.
    """
    assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
    assert batch.old_logprobs_BT is not None
    return batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT
