"""Stable-OPD: on-policy distillation held in place by the reference and by demonstrations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.objectives.base import Weight
from tgpo.objectives.log_ratio import TeacherAdvantage, log_ratio_to_teacher
from tgpo.objectives.reference import ReferenceEstimator, reference_divergence
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, GroupComposition, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StableOPD(TeacherAdvantage):
    r"""Rollouts: `loss_t = PPO(A_t) + reference_kl * k_t`; demonstrations y: `-demonstration_weight log pi_theta(y_t)`.

    `A_t = log pi_T(a_t|s_t) - log pi_old(a_t|s_t)` is `rkl`'s (nats per token). `k_t` estimates the divergence from the
    student as it was before training, at the sampled token: `k2` is `1/2 log(pi_theta / pi_ref)^2`, whose expected
    gradient is that of `KL(pi_theta || pi_ref)`, and `k3` has that of the FORWARD KL, as in `grpo`. `demonstrations` of
    a group's responses are the teacher's; they end and do not repeat themselves, whatever the student writes meanwhile.
    Logged before weighting: `loss/reference`, `loss/demonstrations`. Detached: the advantage, the old and the
    reference's log-probabilities.

    Source: Stable-OPD, arXiv 2604.08527, as a summary gives it: the paper's text was not at hand. Both
    weights (0.01 and 0.1) are what a public implementation calls the paper's; the estimator of the KL, which is the
    paper's as a divergence, is this project's choice. Deviations: the paper adds a demonstration to the rollouts of a
    prompt and averages each part over its own tokens; here, as in `luffy`, it takes the place of a rollout, and all
    parts are divided by all tokens of the update, so long demonstrations weigh more. The paper's solutions are those
    of a data set, not the teacher's.
    """

    reference_kl: Weight = 0.01
    reference_kl_estimator: ReferenceEstimator = "k2"
    demonstrations: Annotated[int, Field(ge=0)] = 1
    demonstration_weight: Weight = 0.1

    @model_validator(mode="after")
    def _nothing_is_unread(self) -> StableOPD:
        if not self.reference_kl:
            self.refuse_unread({"reference_kl_estimator": "k2"}, "reference_kl is 0, so nothing is estimated")
        if not self.demonstrations:
            self.refuse_unread({"demonstration_weight": 0.1}, "there are no demonstrations to weigh")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        reference = {Need.REFERENCE_SAMPLED} if self.reference_kl else set()
        demonstrations = {Need.DEMONSTRATION} if self.demonstrations else set()
        return super().needs | reference | demonstrations

    def mix(self, group: int, size: int) -> GroupComposition:
        return GroupComposition.with_demonstrations(size, self.demonstrations)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        advantage_BT = log_ratio_to_teacher(batch)
        # of a demonstration there is no pi_old: its old log-probability is 0, and so is its advantage
        return Credit(batch.mask_BT, advantage_BT.masked_fill(batch.off_policy_B[:, None], 0.0))

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        policy = super().loss(student, batch, credit)
        loss_BT, terms, demonstrated_B1 = policy.loss_BT, dict(policy.terms), batch.off_policy_B[:, None]
        if self.reference_kl:
            estimate_BT = reference_divergence(student, batch, self.reference_kl_estimator)
            estimate_BT = estimate_BT.masked_fill(demonstrated_B1, 0.0)
            loss_BT = loss_BT + self.reference_kl * estimate_BT
            terms["reference"] = estimate_BT.detach()
        if self.demonstrations:
            imitation_BT = (-student.logprobs_BT).masked_fill(~demonstrated_B1, 0.0)
            loss_BT = loss_BT + self.demonstration_weight * imitation_BT
            terms["demonstrations"] = imitation_BT.detach()
        return TokenLoss(loss_BT, terms, policy.token_means)
