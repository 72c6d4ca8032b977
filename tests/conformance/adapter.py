"""Drives the project's own objective, batch and reduction code on one conformance case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.scoring import score_logits, score_teacher_logits
from tgpo.functional.sequence import scatter
from tgpo.objectives.base import Objective
from tgpo.types import TEACHER_NEEDS, Need, ScoredBatch, StudentScores, TeacherSignal, TokenBatch

CONF = Path(__file__).parents[2] / "conf" / "objective"


def build(name: str, options: dict[str, Any]) -> Objective:
    """The objective a yaml under conf/objective names; its own defaults where `options` is silent."""
    target = yaml.safe_load((CONF / f"{name}.yaml").read_text())["_target_"]
    return instantiate({"_target_": target, **options}, _convert_="all")


def evaluate(case: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[float, list]:
    """The loss, and its gradient with respect to `student_logits`."""
    objective = build(case["objective"], case["options"])
    student_BTV = torch.tensor(case["student_logits"], dtype=dtype, requires_grad=True)
    batch = batch_of(case, objective, dtype)
    with torch.no_grad():
        credit = objective.credit(batch, case["step"])
    answer = objective.loss(scores_of(student_BTV, batch, objective), batch, credit)
    loss = reduce(answer.loss_BT, token_weights(credit.mask_BT, objective.reduction, batch.max_response_length))
    (gradient_BTV,) = torch.autograd.grad(loss, student_BTV)
    return loss.item(), gradient_BTV.tolist()


def batch_of(case: dict[str, Any], objective: Objective, dtype: torch.dtype) -> ScoredBatch:
    """What the engine would hand over: what the objective asks for, and nothing else."""
    tokens_BT, mask_BT = torch.tensor(case["tokens"]), torch.tensor(case["mask"], dtype=dtype)
    picked, needs, off_policy_B = mask_BT > 0, objective.needs, torch.tensor(case["off_policy"])
    token_N, nothing_BP = tokens_BT[picked], torch.empty(len(tokens_BT), 0, dtype=torch.long)
    old_BTV, teacher_BTV = (torch.tensor(case[key], dtype=dtype) for key in ("old_logits", "teacher_logits"))

    def grid(x_N: Tensor) -> Tensor:
        return scatter(x_N, mask_BT)

    best = score_teacher_logits(teacher_BTV[picked], token_N, objective.teacher_topk, token_N[:, None])
    old = score_logits(old_BTV[picked], token_N, best.topk_ids_NK, topk=objective.student_topk)
    at_old = score_teacher_logits(teacher_BTV[picked], token_N, 0, old.topk_ids_NJ).at_ids_NJ
    signal = TeacherSignal(
        sampled_logprobs_BT=grid(best.logprobs_N),
        topk_ids_BTK=grid(best.topk_ids_NK),
        topk_logprobs_BTK=grid(best.topk_logprobs_NK),
        at_student_topk_BTK=grid(at_old),
        sample_ids_BT=torch.tensor(case["teacher_target_tokens"]),
        hidden_BTH=teacher_BTV,
        head=lambda logits_NV: logits_NV,
    )
    return ScoredBatch(
        tokens=TokenBatch(nothing_BP, nothing_BP, tokens_BT, mask_BT),
        group_B=torch.tensor(case["group"]),
        off_policy_B=off_policy_B,
        reward_B=torch.tensor(case["reward"], dtype=dtype) if Need.REWARD in needs else None,
        old_logprobs_BT=grid(old.logprobs_N) * ~off_policy_B[:, None] if Need.OLD_LOGPROBS in needs else None,
        old_at_teacher_topk_BTK=grid(old.at_ids_NK) if Need.OLD_AT_TEACHER_TOPK in needs else None,
        old_topk_logprobs_BTK=grid(old.topk_logprobs_NJ) if Need.TEACHER_AT_STUDENT_TOPK in needs else None,
        teacher=signal.narrow(needs, objective.teacher_topk) if needs & TEACHER_NEEDS else None,
        max_response_length=case["max_response_length"],
        eos_ids=(case["eos_token_id"],),
    )


def scores_of(student_BTV: Tensor, batch: ScoredBatch, objective: Objective) -> StudentScores:
    """What `policy.py` answers, from logits where it has hidden states."""
    picked, teacher = batch.mask_BT > 0, batch.teacher or TeacherSignal()
    best, drawn = teacher.topk_ids_BTK, teacher.sample_ids_BT
    asked = [x for x in (best, None if drawn is None else drawn[..., None]) if x is not None]
    token_N = batch.tokens.response_BT[picked]
    scores = score_logits(
        student_BTV[picked],
        token_N,
        torch.cat(asked, -1)[picked] if asked else token_N.new_empty(len(token_N), 0),
        divergence=objective.divergence,
        teacher_logits_NV=None if teacher.hidden_BTH is None else teacher.hidden_BTH[picked],
    )
    logprobs, entropy, at_ids, divergence = (scatter(x, batch.mask_BT) for x in scores[:4])
    return StudentScores(
        logprobs,
        entropy,
        at_teacher_topk_BTK=None if best is None else at_ids[..., : best.shape[-1]],
        at_teacher_sample_BT=None if drawn is None else at_ids[..., -1],
        divergence_BT=None if objective.divergence is None else divergence,
    )
