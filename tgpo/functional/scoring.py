"""Log-probabilities from logits. No function here returns anything with a vocabulary axis."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tgpo.functional.fuse import fused_on_cuda
from tgpo.functional.sequence import scatter
from tgpo.types.scores import RowDivergence, StudentScores
from tgpo.types.teacher import TeacherSignal


class TokenScores(NamedTuple):
    """In nats: `logprobs_N` of the given tokens, `entropy_N`, `at_ids_NK` at the requested ids, `divergence_N` from the
    teacher. Without gradient: the row's own best tokens `topk_ids_NJ` and `topk_logprobs_NJ`."""

    logprobs_N: Tensor
    entropy_N: Tensor
    at_ids_NK: Tensor
    divergence_N: Tensor
    topk_ids_NJ: Tensor
    topk_logprobs_NJ: Tensor


class TeacherScores(NamedTuple):
    """In nats: `logprobs_N` of the given tokens, the best `topk_*_NK`, `at_ids_NJ` at the requested ids; and a sampled
    token `sample_N`."""

    logprobs_N: Tensor
    topk_ids_NK: Tensor
    topk_logprobs_NK: Tensor
    at_ids_NJ: Tensor
    sample_N: Tensor


def score_logits(
    logits_NV: Tensor,
    tokens_N: Tensor,
    ids_NK: Tensor,
    topk: int = 0,
    divergence: RowDivergence | None = None,
    teacher_logits_NV: Tensor | None = None,
) -> TokenScores:
    """Returns exact scores of each row, in float32 or wider whatever the logits' type is, because a bf16 softmax has
    gradient errors of 3-19 %.

    `divergence_N` is 0 without a `divergence`. A `topk` above the vocabulary's size means all tokens.
    """
    if logits_NV.requires_grad:
        logits_NV = widen(logits_NV)  # once, before all scores, so that their gradients are added up in this type
    return scores_of(logits_NV, *row_statistics(logits_NV), tokens_N, ids_NK, topk, divergence, teacher_logits_NV)


def scores_of(
    logits_NV: Tensor,
    lse_N1: Tensor,
    entropy_N: Tensor,
    tokens_N: Tensor,
    ids_NK: Tensor,
    topk: int,
    divergence: RowDivergence | None,
    teacher_logits_NV: Tensor | None,
) -> TokenScores:
    """Returns `score_logits`, given the results of `row_statistics`."""
    logprobs_N = widen(logits_NV.gather(-1, tokens_N[:, None]))[:, 0] - lse_N1[:, 0]
    at_ids_NK = widen(logits_NV.gather(-1, ids_NK)) - lse_N1
    best = logits_NV.detach().topk(min(topk, logits_NV.shape[-1]), dim=-1)
    divergence_N = torch.zeros_like(logprobs_N)
    if divergence is not None:
        assert teacher_logits_NV is not None
        divergence_N = divergence(widen(logits_NV) - lse_N1, widen(teacher_logits_NV).log_softmax(-1).detach())
    best_NJ = widen(best.values) - lse_N1.detach()
    return TokenScores(logprobs_N, entropy_N, at_ids_NK, divergence_N, best.indices, best_NJ)


@fused_on_cuda
def row_statistics(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `lse = log sum_v exp z_v`, `[N,1]`, and the entropy `lse - sum_v p_v z_v`, `[N]`, in nats."""
    logits_NV = widen(logits_NV)
    lse_N1 = logits_NV.logsumexp(-1, keepdim=True)
    return lse_N1, lse_N1[:, 0] - (torch.exp(logits_NV - lse_N1) * logits_NV).sum(-1)


class RowGradients(NamedTuple):
    """The loss's derivative by each score of `TokenScores`; None where the loss does not depend on the score."""

    logprobs_N: Tensor | None
    entropy_N: Tensor | None
    at_ids_NK: Tensor | None
    divergence_N: Tensor | None


def logits_gradient(
    logits_NV: Tensor,
    lse_N1: Tensor,
    entropy_N: Tensor,
    tokens_N: Tensor,
    ids_NK: Tensor,
    upstream: RowGradients,
    divergence: RowDivergence | None = None,
    teacher_logits_NV: Tensor | None = None,
) -> Tensor:
    r"""Returns `dL / dz` in float32 or wider, as autograd would for `score_logits`, with one array of the logits' size.

    With `p = softmax(z)`, the upstream gradients `g_v` of the log-probability at v and `h` of the entropy H:
    `dL / dz_v = g_v - p_v sum_u g_u - h p_v (log p_v + H)`. A divergence adds `u_v - p_v sum_w u_w`, where `u_v` is the
    derivative of L by `log p_v` through the divergence.
    """
    zero_N = torch.zeros_like(entropy_N)
    at_token_N = zero_N if upstream.logprobs_N is None else upstream.logprobs_N
    total_N = at_token_N if upstream.at_ids_NK is None else at_token_N + upstream.at_ids_NK.sum(-1)
    if upstream.entropy_N is None:
        gradient_NV = spread_over_softmax(logits_NV, lse_N1, total_N)
    else:
        gradient_NV = spread_with_entropy(logits_NV, lse_N1, total_N, entropy_N, upstream.entropy_N)
    if upstream.logprobs_N is not None:
        gradient_NV.scatter_add_(1, tokens_N[:, None], at_token_N[:, None])
    if upstream.at_ids_NK is not None:
        gradient_NV.scatter_add_(1, ids_NK, upstream.at_ids_NK)
    if upstream.divergence_N is not None and divergence is not None:
        assert teacher_logits_NV is not None
        teacher_logprobs_NV = widen(teacher_logits_NV).log_softmax(-1)
        logprobs_NV = (widen(logits_NV) - lse_N1).requires_grad_()
        with torch.enable_grad():
            divergence_N = divergence(logprobs_NV, teacher_logprobs_NV)
        (by_logprobs_NV,) = torch.autograd.grad(divergence_N, logprobs_NV, upstream.divergence_N)
        gradient_NV += by_logprobs_NV
        gradient_NV.addcmul_(logprobs_NV.detach().exp(), by_logprobs_NV.sum(-1, keepdim=True), value=-1)
    return gradient_NV


@fused_on_cuda
def spread_over_softmax(logits_NV: Tensor, lse_N1: Tensor, total_N: Tensor) -> Tensor:
    """Returns `-p_v g`, with g the sum of the upstream gradients of the row's log-probabilities."""
    return (widen(logits_NV) - lse_N1).exp_().mul_(-total_N[:, None])


@fused_on_cuda
def spread_with_entropy(
    logits_NV: Tensor, lse_N1: Tensor, total_N: Tensor, entropy_N: Tensor, by_entropy_N: Tensor
) -> Tensor:
    """Returns `-p_v (g + h (log p_v + H))`, with h the upstream gradient of the row's entropy H."""
    logprobs_NV = widen(logits_NV) - lse_N1
    by_entropy_N1 = by_entropy_N[:, None]
    return -logprobs_NV.exp() * (total_N[:, None] + by_entropy_N1 * (logprobs_NV + entropy_N[:, None]))


def score_teacher_logits(
    logits_NV: Tensor, tokens_N: Tensor, topk: int, at_ids_NJ: Tensor, uniform_N: Tensor | None = None
) -> TeacherScores:
    """Returns the teacher's scores, best tokens first; `sample_N` is 0 without the random numbers to draw it."""
    logits_NV = widen(logits_NV)
    lse_N1 = logits_NV.logsumexp(-1, keepdim=True)
    best = logits_NV.topk(min(topk, logits_NV.shape[-1]), dim=-1)
    drawn_N = torch.zeros_like(tokens_N) if uniform_N is None else inverse_cdf(logits_NV - lse_N1, uniform_N)
    return TeacherScores(
        (logits_NV.gather(-1, tokens_N[:, None]) - lse_N1)[:, 0],
        best.indices,
        best.values - lse_N1,
        logits_NV.gather(-1, at_ids_NJ) - lse_N1,
        drawn_N,
    )


def inverse_cdf(logprobs_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """Returns one token per row, the first at which the cumulative distribution exceeds `uniform_N` in [0, 1).

    The sum is taken in float64: over 150,000 tokens, float32 would never draw the rarest.
    """
    cumulative_NV = logprobs_NV.exp().cumsum(-1, dtype=torch.float64)
    target_N1 = uniform_N[:, None] * cumulative_NV[:, -1:]
    return torch.searchsorted(cumulative_NV, target_N1, right=True)[:, 0].clamp(max=logprobs_NV.shape[1] - 1)


def widen(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def student_scores(scores: TokenScores, mask_BT: Tensor, teacher: TeacherSignal) -> StudentScores:
    """Returns the unmasked tokens' scores, at the ids of `teacher.named_ids`, on the `[B,T]` grid; 0 elsewhere.

    The tensors are copies, not views, because FSDP puts hooks on the tensors that a sharded module returns.
    """
    grid = TokenScores(*(scatter(x, mask_BT) for x in scores))
    best_BTK, old_best_BTK, drawn_BT = teacher.topk_ids_BTK, teacher.student_topk_ids_BTK, teacher.sample_ids_BT
    best = 0 if best_BTK is None else best_BTK.shape[-1]
    old_best = 0 if old_best_BTK is None else old_best_BTK.shape[-1]
    own = grid.topk_ids_NJ.shape[-1] > 0
    return StudentScores(
        grid.logprobs_N,
        grid.entropy_N,
        at_teacher_topk_BTK=None if best_BTK is None else grid.at_ids_NK[..., :best].clone(),
        at_old_topk_BTK=None if old_best_BTK is None else grid.at_ids_NK[..., best : best + old_best].clone(),
        at_teacher_sample_BT=None if drawn_BT is None else grid.at_ids_NK[..., -1].clone(),
        divergence_BT=None if teacher.hidden_BTH is None else grid.divergence_N,
        topk_ids_BTK=grid.topk_ids_NJ if own else None,
        topk_logprobs_BTK=grid.topk_logprobs_NJ if own else None,
    )
