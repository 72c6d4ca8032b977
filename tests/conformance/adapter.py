"""Drives the project's own objective, batch and reduction code on one conformance case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.scoring import score_logits, score_teacher_logits, student_scores
from tgpo.functional.sequence import scatter
from tgpo.objectives.base import Objective
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.problem import TEACHER_NEEDS, Need
from tgpo.types.scores import StudentScores
from tgpo.types.teacher import TeacherSignal

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
    old_BTV, teacher_BTV = (torch.tensor(case[key], dtype=dtype) for key in ("old_logits", "teacher_logits"))
    nothing_BP = torch.empty(len(tokens_BT), 0, dtype=torch.long)
    written = ScoredBatch(
        tokens=TokenBatch(nothing_BP, nothing_BP, tokens_BT, mask_BT),
        group_B=torch.tensor(case["group"]),
        off_policy_B=torch.tensor(case["off_policy"]),
        reward_B=torch.tensor(case["reward"], dtype=dtype),
        max_response_length=case["max_response_length"],
        eos_ids=(case["eos_token_id"],),
    )
    return scored(written, old_BTV, teacher_BTV, torch.tensor(case["teacher_target_tokens"]), objective)


def scored(
    batch: ScoredBatch,
    old_BTV: Tensor,
    teacher_BTV: Tensor,
    drawn_BT: Tensor,
    objective: Objective,
    reference_BTV: Tensor | None = None,
) -> ScoredBatch:
    """Adds what pi_old, the teacher and the reference say, from tables of logits: what the collector does with
    models."""
    mask_BT, needs = batch.mask_BT, objective.needs
    picked = mask_BT > 0
    token_N = batch.tokens.response_BT[picked]

    def grid(x_N: Tensor) -> Tensor:
        return scatter(x_N.detach(), mask_BT)

    best = score_teacher_logits(teacher_BTV[picked], token_N, objective.teacher_topk, token_N[:, None])
    old = score_logits(old_BTV[picked], token_N, best.topk_ids_NK, topk=objective.student_topk)
    at_old = score_teacher_logits(teacher_BTV[picked], token_N, 0, old.topk_ids_NJ).at_ids_NJ
    signal = TeacherSignal(
        sampled_logprobs_BT=grid(best.logprobs_N),
        topk_ids_BTK=grid(best.topk_ids_NK),
        topk_logprobs_BTK=grid(best.topk_logprobs_NK),
        at_student_topk_BTK=grid(at_old),
        student_topk_ids_BTK=grid(old.topk_ids_NJ),
        sample_ids_BT=drawn_BT,
        hidden_BTH=teacher_BTV,
        head=lambda logits_NV: logits_NV,
    )
    old_BT = grid(old.logprobs_N) * ~batch.off_policy_B[:, None]
    reference_BT = None
    if Need.REFERENCE_SAMPLED in needs:
        assert reference_BTV is not None, "this case has no reference"
        reference_BT = grid(score_logits(reference_BTV[picked], token_N, token_N[:, None]).logprobs_N)
    return replace(
        batch,
        reward_B=batch.reward_B if Need.REWARD in needs else None,
        old_logprobs_BT=old_BT if Need.OLD_LOGPROBS in needs else None,
        reference_logprobs_BT=reference_BT,
        old_at_teacher_topk_BTK=grid(old.at_ids_NK) if Need.OLD_AT_TEACHER_TOPK in needs else None,
        old_topk_logprobs_BTK=grid(old.topk_logprobs_NJ) if Need.TEACHER_AT_STUDENT_TOPK in needs else None,
        teacher=signal.narrow(needs, objective.teacher_topk) if needs & TEACHER_NEEDS else None,
    )


def scores_of(student_BTV: Tensor, batch: ScoredBatch, objective: Objective) -> StudentScores:
    """What `policy.py` answers, from logits where it has hidden states."""
    picked, teacher = batch.mask_BT > 0, batch.teacher or TeacherSignal()
    scores = score_logits(
        student_BTV[picked],
        batch.tokens.response_BT[picked],
        teacher.named_ids(picked),
        divergence=objective.divergence,
        teacher_logits_NV=None if teacher.hidden_BTH is None else teacher.hidden_BTH[picked],
    )
    return student_scores(scores, batch.mask_BT, teacher)
