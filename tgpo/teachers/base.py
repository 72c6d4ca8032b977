"""The interface of a teacher, token ids -> TeacherSignal, and the checks that every teacher's answer must pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tgpo.errors import RequestError
from tgpo.functional.sequence import scatter
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherQuery, TeacherSignal

# The needs that vLLM's prompt log-probabilities can serve: the tokens themselves, and the best ones.
PROMPT_LOGPROBS = frozenset({Need.TEACHER_SAMPLED, Need.TEACHER_TOPK, Need.OLD_AT_TEACHER_TOPK})
# A float32 log-softmax over 150,000 tokens sums to 1 within 1e-5; one taken in bfloat16 is off by 1e-2.
TOTAL_TOLERANCE = 1e-3


class Teacher(Protocol):
    """Scores the student's tokens in the student's own states, at temperature 1, in float32.

    `states_width` is the width of the hidden states if a caller may keep them for a whole batch, otherwise None.
    `together` says whether all processes must make each pass at the same time, as each holds a part of the weights.
    """

    together: bool

    @property
    def states_width(self) -> int | None: ...

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        """Returns the scores that `query` requests."""
        ...


class Answer(NamedTuple):
    """The scores of one response, token by token: its log-probabilities, and the best tokens in order."""

    logprobs: Sequence[float]
    topk_ids: Sequence[Sequence[int]]
    topk_logprobs: Sequence[Sequence[float]]


def signal_of(answers: Sequence[Answer], tokens: TokenBatch, topk: int) -> TeacherSignal:
    """Returns answers given as lists on the grid of the batch; raises RequestError if their number is wrong."""
    device, picked = tokens.mask_BT.device, tokens.mask_BT > 0

    def grid(values: list[Any], dtype: torch.dtype) -> Tensor:
        flat = torch.tensor(values, dtype=dtype, device=device)
        if len(flat) != int(picked.sum()):
            raise RequestError(f"the teacher answered for {len(flat)} of {int(picked.sum())} tokens")
        return scatter(flat, tokens.mask_BT)

    sampled_BT = grid([x for answer in answers for x in answer.logprobs], torch.float32)
    if not topk:
        return TeacherSignal(sampled_BT)
    ids_BTK = grid([ids for answer in answers for ids in answer.topk_ids], torch.long)
    best_BTK = grid([best for answer in answers for best in answer.topk_logprobs], torch.float32)
    return TeacherSignal(sampled_BT, ids_BTK, best_BTK)


def check_signal(signal: TeacherSignal, query: TeacherQuery, tokens: TokenBatch, vocabulary: int) -> None:
    """Raises RequestError if an answer is missing, has the wrong shape, is not finite, or is not a distribution."""
    grid, topk = tuple(tokens.mask_BT.shape), min(query.topk, vocabulary)
    expected: dict[str, tuple[int, ...]] = {}
    if query.sampled:
        expected["sampled_logprobs_BT"] = grid
    if topk:
        expected |= {"topk_ids_BTK": (*grid, topk), "topk_logprobs_BTK": (*grid, topk)}
    if query.at_ids_BTK is not None:
        expected["at_student_topk_BTK"] = tuple(query.at_ids_BTK.shape)
    if query.uniform_BT is not None:
        expected["sample_ids_BT"] = grid
    if query.full:
        expected["hidden_BTH"] = grid
    real_BT = tokens.mask_BT > 0
    for name, shape in expected.items():
        value: Tensor | None = getattr(signal, name)
        if value is None:
            raise RequestError(f"the teacher gave no {name}, which the objective or the metrics need")
        if tuple(value.shape[: len(shape)]) != shape:
            raise RequestError(f"the teacher's {name} has shape {list(value.shape)} where {list(shape)} was expected")
        check_values(name, value[real_BT], vocabulary)
    if topk:
        check_best(signal, real_BT)


def check_values(name: str, values: Tensor, vocabulary: int) -> None:
    if "ids" in name:
        wrong = (values < 0) | (values >= vocabulary)
        if wrong.any():
            raise RequestError(f"the teacher's {name} names token {int(values[wrong][0])} of {vocabulary}")
        return
    if not values.isfinite().all():
        count = int((~values.isfinite()).sum())
        raise RequestError(f"{count} of the teacher's {name} are not finite; check its weights and teacher.path")
    if "logprobs" in name and values.numel() and values.max() > TOTAL_TOLERANCE:
        raise RequestError(f"the teacher's {name} reach {values.max():.3g}: log-probabilities are at most 0")


def check_best(signal: TeacherSignal, real_BT: Tensor) -> None:
    assert signal.topk_logprobs_BTK is not None
    best_NK = signal.topk_logprobs_BTK[real_BT]
    total_N = best_NK.double().exp().sum(-1)
    if len(total_N) and total_N.max() > 1 + TOTAL_TOLERANCE:
        raise RequestError(f"the teacher's best tokens sum to a probability of {total_N.max():.4f}: not normalised")
    if (best_NK.diff(dim=-1) > 0).any():
        raise RequestError("the teacher's best tokens are not sorted: the first would not be its choice")
    if (
        signal.topk_ids_BTK is not None
        and (torch.sort(signal.topk_ids_BTK[real_BT], -1).values.diff(dim=-1) == 0).any()
    ):
        raise RequestError("the teacher names the same token twice among its best")
