"""The output head and its scores, a few rows at a time, so that the number of logits stays within a budget."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tgpo.functional.scoring import (
    RowGradients,
    TeacherScores,
    TokenScores,
    logits_gradient,
    row_statistics,
    score_logits,
    score_teacher_logits,
    scores_of,
    widen,
)
from tgpo.types.scores import RowDivergence
from tgpo.types.teacher import Head, TeacherQuery


class Against(NamedTuple):
    """A full-vocabulary divergence, and the teacher's hidden states and head that it is computed from, row by row."""

    divergence: RowDivergence
    hidden_NH: Tensor
    head: Head


def score_hidden(
    head: Head,
    hidden_NH: Tensor,
    tokens_N: Tensor,
    ids_NK: Tensor,
    topk: int,
    vocabulary: int,
    rows_per_chunk: int,
    against: Against | None = None,
) -> TokenScores:
    """Returns `score_logits` of `head(hidden)`, chunk by chunk; the backward pass recomputes each chunk's logits.

    Args:
        vocabulary: logits beyond it are padding columns of the head and never enter a softmax.
        rows_per_chunk: the most rows whose logits exist at one time. One chunk is not recomputed.
    """

    if len(hidden_NH) > rows_per_chunk and torch.is_grad_enabled() and is_plain(head):
        options = topk, vocabulary, rows_per_chunk, against
        scores: Any = ChunkedScores.apply(hidden_NH, head.weight, tokens_N, ids_NK, *options)
        return TokenScores(*scores)

    def score(rows: slice) -> TokenScores:
        logits_NV = head(hidden_NH[rows])[:, :vocabulary]
        return score_rows(logits_NV, tokens_N[rows], ids_NK[rows], topk, of_rows(against, rows))

    parts = slices(len(hidden_NH), rows_per_chunk)
    if len(parts) <= 1:
        return score(slice(None))
    recompute = torch.is_grad_enabled()
    scores = [checkpoint(score, rows, use_reentrant=False) if recompute else score(rows) for rows in parts]
    return TokenScores(*(torch.cat(part) for part in zip(*scores, strict=True)))


def score_rows(logits_NV: Tensor, tokens_N: Tensor, ids_NK: Tensor, topk: int, against: Against | None) -> TokenScores:
    """Returns `score_logits`, with the teacher's logits of the same rows if there is a divergence to compute."""
    return score_logits(logits_NV, tokens_N, ids_NK, topk, *divergence_and_logits(against, logits_NV.shape[1]))


def divergence_and_logits(against: Against | None, vocabulary: int) -> tuple[RowDivergence | None, Tensor | None]:
    if against is None:
        return None, None
    with torch.no_grad():
        return against.divergence, against.head(against.hidden_NH)[:, :vocabulary]


def is_plain(head: Any) -> TypeGuard[nn.Linear]:
    """Whether the head is a product with one matrix and nothing else: no bias, no adapter, no hook."""
    return type(head) is nn.Linear and head.bias is None and not head._forward_hooks and not head._forward_pre_hooks


class ChunkedScores(torch.autograd.Function):
    """`score_rows` of `hidden @ weight.T`, which keeps no logits for the backward pass.

    When autograd sums over chunks it holds a second gradient of the weight, half a gigabyte at 150,000 tokens; here
    each chunk's gradient is added in place, in float32 (or wider) whatever the weight's type is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        tokens_N: Tensor,
        ids_NK: Tensor,
        topk: int,
        vocabulary: int,
        rows_per_chunk: int,
        against: Against | None,
    ) -> TokenScores:
        device = hidden_NH.device.type
        ctx.autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.options = vocabulary, rows_per_chunk, against
        ctx.set_materialize_grads(False)
        used_VH, parts, sums = cast(weight_VH[:vocabulary]), list[TokenScores](), list[Tensor]()
        for rows in slices(len(hidden_NH), rows_per_chunk):
            logits_NV = cast(hidden_NH[rows]) @ used_VH.T
            lse_N1, entropy_N = row_statistics(logits_NV)
            teacher = divergence_and_logits(of_rows(against, rows), vocabulary)
            parts.append(scores_of(logits_NV, lse_N1, entropy_N, tokens_N[rows], ids_NK[rows], topk, *teacher))
            sums.append(lse_N1)
        scores = TokenScores(*(torch.cat(part) for part in zip(*parts, strict=True)))
        ctx.save_for_backward(hidden_NH, weight_VH, tokens_N, ids_NK, torch.cat(sums), scores.entropy_N)
        ctx.mark_non_differentiable(scores.topk_ids_NJ, scores.topk_logprobs_NJ)
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, tokens_N, ids_NK, lse_N1, entropy_N = ctx.saved_tensors
        vocabulary, rows_per_chunk, against = ctx.options
        hidden_gradient_NH = torch.zeros_like(hidden_NH)
        weight_gradient_VH = None
        if ctx.needs_input_grad[1]:
            weight_gradient_VH = torch.zeros_like(weight_VH, dtype=widen(weight_VH[:0]).dtype)
        with ctx.autocast:
            used_VH = cast(weight_VH[:vocabulary])
            for rows in slices(len(hidden_NH), rows_per_chunk):
                used_NH = cast(hidden_NH[rows])
                gradient_NV = logits_gradient(
                    used_NH @ used_VH.T, lse_N1[rows], entropy_N[rows], tokens_N[rows], ids_NK[rows],
                    RowGradients(*(None if g is None else g[rows] for g in gradients[:4])),
                    *divergence_and_logits(of_rows(against, rows), vocabulary),
                ).to(used_VH.dtype)  # fmt: skip
                hidden_gradient_NH[rows] = gradient_NV @ used_VH
                if weight_gradient_VH is not None:
                    add_product(weight_gradient_VH[:vocabulary], gradient_NV.T, used_NH)
        if weight_gradient_VH is not None:
            weight_gradient_VH = weight_gradient_VH.to(weight_VH.dtype)
        return hidden_gradient_NH, weight_gradient_VH, *[None] * 6


def answer_query(
    head: Head, hidden_NH: Tensor, tokens_N: Tensor, picked_BT: Tensor, query: TeacherQuery, vocabulary: int, rows: int
) -> dict[str, Tensor]:
    """Returns what `query` requests for the tokens that `picked_BT` selects, row by row, under the names of
    `TeacherSignal`.

    Args:
        hidden_NH: the states that predict `tokens_N`.
        rows: the most rows whose logits exist at one time.
    """
    answers = {"hidden_BTH": hidden_NH} if query.full else {}
    at_ids_NJ = None if query.at_ids_BTK is None else query.at_ids_BTK[picked_BT]
    uniform_N = None if query.uniform_BT is None else query.uniform_BT[picked_BT]
    if not (query.sampled or query.topk or at_ids_NJ is not None or uniform_N is not None):
        return answers  # the policy, which reads the hidden states, runs the head
    nothing_NJ = tokens_N.new_empty(len(tokens_N), 0)
    asked_NJ = nothing_NJ if at_ids_NJ is None else at_ids_NJ
    scores = score_teacher_hidden(head, hidden_NH, tokens_N, query.topk, asked_NJ, uniform_N, vocabulary, rows)
    if query.sampled:
        answers["sampled_logprobs_BT"] = scores.logprobs_N
    if query.topk:
        answers |= {"topk_ids_BTK": scores.topk_ids_NK, "topk_logprobs_BTK": scores.topk_logprobs_NK}
    if at_ids_NJ is not None:
        answers["at_student_topk_BTK"] = scores.at_ids_NJ
    if uniform_N is not None:
        answers["sample_ids_BT"] = scores.sample_N
    return answers


def slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def of_rows(against: Against | None, rows: slice) -> Against | None:
    return against and against._replace(hidden_NH=against.hidden_NH[rows])


def cast(x: Tensor) -> Tensor:
    """Casts to the type that autocast multiplies in: a weight once, while autocast would cast it for every chunk."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def add_product(total_VH: Tensor, left_VN: Tensor, right_NH: Tensor) -> None:
    """Adds `left @ right` to `total`, in its type; if the types agree, without a second matrix of the same size."""
    if total_VH.dtype == left_VN.dtype:
        total_VH.addmm_(left_VN, right_NH)
    else:
        total_VH += left_VN @ right_NH


def score_teacher_hidden(
    head: Head,
    hidden_NH: Tensor,
    tokens_N: Tensor,
    topk: int,
    at_ids_NJ: Tensor,
    uniform_N: Tensor | None,
    vocabulary: int,
    rows_per_chunk: int,
) -> TeacherScores:
    """Returns `score_teacher_logits` of `head(hidden)`, chunk by chunk."""
    parts = [
        score_teacher_logits(
            head(hidden_NH[rows])[:, :vocabulary],
            tokens_N[rows],
            topk,
            at_ids_NJ[rows],
            None if uniform_N is None else uniform_N[rows],
        )
        for rows in slices(len(hidden_NH), rows_per_chunk)
    ]
    return TeacherScores(*(torch.cat(part) for part in zip(*parts, strict=True)))
