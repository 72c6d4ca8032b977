"""Drives the project's own objective, batch and reduction code on one conformance case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.scoring import score_logits, topk_logits
from tgpo.functional.sequence import scatter
from tgpo.objectives.base import topk_asked
from tgpo.types import TEACHER_NEEDS, Need, ScoredBatch, StudentScores, TeacherSignal, TokenBatch

CONF = Path(__file__).parents[2] / "conf" / "objective"


def build(name: str, options: dict[str, Any]) -> Any:
    """The objective a yaml under conf/objective names; its own defaults where `options` is silent."""
    target = yaml.safe_load((CONF / f"{name}.yaml").read_text())["_target_"]
    return instantiate({"_target_": target, **options}, _convert_="all")


def evaluate(case: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[float, list]:
    """The loss, and its gradient with respect to `student_logits`."""

    def tensor(key: str) -> Tensor:
        return torch.tensor(case[key], dtype=dtype)

    objective = build(case["objective"], case["options"])
    student_BTV = tensor("student_logits").requires_grad_(True)
    mask_BT, tokens_BT = tensor("mask"), torch.tensor(case["tokens"])
    row_N, time_N = mask_BT.nonzero(as_tuple=True)
    token_N = tokens_BT[row_N, time_N]
    nothing_N0 = token_N.new_empty(len(token_N), 0)

    old = score_logits(tensor("old_logits")[row_N, time_N], token_N, nothing_N0)
    best = topk_logits(tensor("teacher_logits")[row_N, time_N], token_N, max(topk_asked(objective), 1))
    teacher = TeacherSignal(*(scatter(x, mask_BT) for x in best))
    old_best = score_logits(tensor("old_logits")[row_N, time_N], token_N, best.ids_NK).at_ids_NK
    nothing_BP = torch.empty(len(tokens_BT), 0, dtype=torch.long)
    batch = ScoredBatch(
        tokens=TokenBatch(nothing_BP, nothing_BP, tokens_BT, mask_BT),
        group_B=torch.tensor(case["group"]),
        off_policy_B=torch.tensor(case["off_policy"]),
        reward_B=tensor("reward") if Need.REWARD in objective.needs else None,
        old_logprobs_BT=scatter(old.logprobs_N, mask_BT) if Need.OLD_LOGPROBS in objective.needs else None,
        old_at_teacher_topk_BTK=scatter(old_best, mask_BT) if Need.OLD_AT_TEACHER_TOPK in objective.needs else None,
        teacher=teacher.narrow(objective.needs, objective.topk) if objective.needs & TEACHER_NEEDS else None,
        max_response_length=case["max_response_length"],
    )
    credit = objective.credit(batch, case["step"])
    asked_N0 = nothing_N0
    if batch.teacher is not None and batch.teacher.topk_ids_BTK is not None:
        asked_N0 = batch.teacher.topk_ids_BTK[row_N, time_N]
    scores = score_logits(student_BTV[row_N, time_N], token_N, asked_N0)
    student = StudentScores(
        scatter(scores.logprobs_N, mask_BT), scatter(scores.entropy_N, mask_BT), scatter(scores.at_ids_NK, mask_BT)
    )
    weights_BT = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    loss = reduce(objective.loss(student, batch, credit).loss_BT, weights_BT)
    (gradient_BTV,) = torch.autograd.grad(loss, student_BTV)
    return loss.item(), gradient_BTV.tolist()
