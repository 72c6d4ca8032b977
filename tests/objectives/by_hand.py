"""Two rollouts of one prompt, in numbers a reader can follow: the first right with two tokens, the second wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from tgpo.functional.reduce import reduce, token_weights
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.scores import StudentScores
from tgpo.types.teacher import TeacherSignal

MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
CAP = 4
ADVANTAGE = 0.5 / (math.sqrt(0.5) + 1e-6)  # of rewards 1 and 0, over their unbiased deviation


def log(*rows: list) -> torch.Tensor:
    probabilities = torch.tensor(rows, dtype=torch.float64)
    return torch.log(probabilities) * MASK.view(*MASK.shape, *[1] * (probabilities.ndim - 2))


OLD = log([0.5, 0.25], [0.5, 1.0])
NEW = log([0.6, 0.25], [0.4, 1.0])  # ratios 1.2, 1, 0.8: none is clipped at 0.2
REFERENCE = log([0.3, 0.5], [0.8, 1.0])
TEACHER = log([0.25, 0.5], [0.1, 1.0])
# at the teacher's two best tokens
AT_BEST = log([[0.2, 0.4], [0.25, 0.5]], [[0.1, 0.4], [1.0, 1.0]])
TEACHER_BEST = log([[0.6, 0.2], [0.5, 0.25]], [[0.75, 0.25], [1.0, 1.0]])
OLD_AT_BEST = log([[0.3, 0.1], [0.5, 0.1]], [[0.7, 0.1], [1.0, 1.0]])
BEST_IDS = torch.tensor([[[1, 2], [7, 2]], [[3, 4], [0, 0]]])
TOKENS = torch.tensor([[1, 5], [6, 0]])
EOS = 7

BATCH = ScoredBatch(
    tokens=TokenBatch(*2 * [torch.empty(2, 0, dtype=torch.long)], TOKENS, MASK),
    group_B=torch.tensor([0, 0]),
    off_policy_B=torch.tensor([False, False]),
    reward_B=torch.tensor([1.0, 0.0], dtype=torch.float64),
    old_logprobs_BT=OLD,
    old_at_teacher_topk_BTK=OLD_AT_BEST,
    teacher=TeacherSignal(TEACHER, BEST_IDS, TEACHER_BEST),
    max_response_length=CAP,
    eos_ids=(EOS,),
)
STUDENT = StudentScores(NEW, NEW, AT_BEST)


def evaluate(objective, step=1, student=STUDENT, **changes):
    """The reduced loss, the objective's answer and its credit."""
    batch = replace(BATCH, **changes)
    credit = objective.credit(batch, step)
    answer = objective.loss(student, batch, credit)
    return reduce(answer.loss_BT, token_weights(credit.mask_BT, objective.reduction, CAP)).item(), answer, credit
