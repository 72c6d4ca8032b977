"""KDRL: reward and reverse-KL distillation in one update."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from tgpo.functional.advantage import Mask, guided
from tgpo.functional.divergence import k2
from tgpo.functional.schedule import linear_decay
from tgpo.objectives.base import LinearWeight, Weight, apply_importance_weights
from tgpo.objectives.grpo import GRPO
from tgpo.objectives.log_ratio import log_ratio_to_teacher
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KDRL(GRPO):
    r"""`loss_t = PPO(A)_t + beta_k * 1/2 (log pi_theta(a_t|s_t) - log pi_T(a_t|s_t))^2` (`form: joint`).

    The second term is the k2 estimate of the reverse KL (nats squared per token): on-policy, its expected gradient is
    that of `sum_t E_{s_t ~ sg[pi]} KL(pi_theta(.|s_t) || pi_T(.|s_t))`. Detached: the advantage, the old and the
    teacher's log-probabilities; the student's own carry gradient in both terms.

    - `form: reward` puts the teacher into the advantage instead:
      `PPO(A + beta_k * (log pi_T(a_t) - log pi_old(a_t)))`.
    - `mask`: `incorrect` applies the teacher's term only to rollouts with reward 0, `unsolved_group` only where no
      rollout of the prompt is right, which is what HDPO (arXiv 2603.23871) does. The reduction still divides by all
      tokens.
    - `schedule: linear`: `beta` is `[beta_1, d, beta_min]` and `beta_k = max(beta_1 - (k-1) d, beta_min)`.

    Source: KDRL, arXiv 2506.02208; paper default beta = 2e-3, linear 5e-3 -> 1e-3 by 5e-5 per step. One public
    implementation differs: it SUBTRACTS the KL from the loss and so pushes the student away from the teacher.
    """

    beta: Weight | LinearWeight = 2e-3
    schedule: Literal["constant", "linear"] = "constant"
    mask: Mask = "none"
    form: Literal["joint", "reward"] = "joint"

    @model_validator(mode="after")
    def _beta_fits_its_schedule(self) -> KDRL:
        if isinstance(self.beta, tuple) != (self.schedule == "linear"):
            raise ValueError(
                "beta is one number for schedule: constant, and [beta_1, d, beta_min] for schedule: linear"
            )
        return self

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.TEACHER_SAMPLED}

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        policy = super().credit(batch, step)
        beta = linear_decay(step, *self.beta) if isinstance(self.beta, tuple) else self.beta
        assert batch.reward_B is not None
        guided_B = guided(self.mask, batch.reward_B, batch.group_B)
        weight_BT = beta * guided_B[:, None] * batch.teacher_mask_BT
        scalars = {"loss/teacher_weight": beta}
        if self.form == "joint":
            return replace(policy, teacher_weight_BT=weight_BT, scalars=scalars)
        assert policy.advantage_BT is not None
        bonus_BT = weight_BT * log_ratio_to_teacher(batch)
        return replace(policy, advantage_BT=policy.advantage_BT + bonus_BT, scalars=scalars)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        policy = super().loss(student, batch, credit)
        if credit.teacher_weight_BT is None:  # `form: reward`: the teacher's term is in the advantage
            return policy
        assert batch.teacher is not None and batch.teacher.sampled_logprobs_BT is not None
        k2_BT = apply_importance_weights(k2(student.logprobs_BT, batch.teacher.sampled_logprobs_BT), batch)
        k2_BT = k2_BT * batch.teacher_mask_BT
        return TokenLoss(
            policy.loss_BT + credit.teacher_weight_BT * k2_BT,
            {**policy.terms, "teacher": k2_BT.detach()},
            policy.token_means,
        )
