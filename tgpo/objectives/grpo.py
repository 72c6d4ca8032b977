"""Group Relative Policy Optimization: reward alone, no teacher."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from tgpo.functional.advantage import group_advantage
from tgpo.objectives.base import PolicyGradient, Weight, fill_defaults
from tgpo.objectives.reference import ReferenceEstimator, reference_divergence
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need, Reduction
from tgpo.types.scores import Credit, StudentScores, TokenLoss

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"normalize_std": True, "clip_high": 0.2, "reduction": Reduction.TOKEN},
    "dr_grpo": {"normalize_std": False, "clip_high": 0.2, "reduction": Reduction.CONSTANT},
    "dapo": {"normalize_std": True, "clip_high": 0.28, "reduction": Reduction.TOKEN},
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GRPO(PolicyGradient):
    r"""`loss_t = PPO(A)_t + reference_kl * k_t`, `A = (R - mean_group R) / (std_group R + 1e-6)`.

    All tokens of a rollout have the rollout's advantage. `k_t` estimates the divergence from the student as it was
    before training, at the sampled token: `reference_kl_estimator: k3` is `pi_ref / pi_theta - 1 - log(pi_ref /
    pi_theta)`, `k2` is `1/2 log(pi_theta / pi_ref)^2`. It is left out by default (`reference_kl: 0`), and its gradient
    is not the one that its value suggests: see `reference.reference_divergence`. The logged `loss/reference` is k_t
    before weighting. Detached: the advantage, the old and the reference's log-probabilities.

    `variant` sets the defaults of three options, each of which can still be set by itself:
    - `grpo`: the advantage is divided by the standard deviation, clip 0.2 on both sides, reduction over tokens.
      DeepSeekMath, arXiv 2402.03300, equation 3
    - `dr_grpo`: the advantage is only centred, reduction by a constant (`max_response_length`), so that neither hard
      questions nor short answers weigh more. Dr. GRPO, arXiv 2503.20783, section 3
    - `dapo`: `clip_high` 0.28, so that rare tokens can become likelier. DAPO, arXiv 2503.14476, equation 8; its dynamic
      sampling and its length penalty are left out: they change the rollouts, which are the same for all objectives here

    Deviations of `grpo` from its paper: `reference_kl` is 0, as in DAPO and Dr. GRPO, where the paper has 0.04; the
    reduction is over the tokens of the update (as in DAPO), while the paper averages within each sequence first
    (`reduction: sequence`).
    """

    variant: Literal["grpo", "dr_grpo", "dapo"] = "grpo"
    normalize_std: bool = True
    reference_kl: Weight = 0.0
    reference_kl_estimator: ReferenceEstimator = "k3"

    needs_groups = True

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_variant(cls, given: ArgsKwargs) -> ArgsKwargs:
        return fill_defaults(given, VARIANTS.get((given.kwargs or {}).get("variant", "grpo"), VARIANTS["grpo"]))

    @model_validator(mode="after")
    def _estimator_has_a_weight(self) -> GRPO:
        if not self.reference_kl:
            self.refuse_unread({"reference_kl_estimator": "k3"}, "reference_kl is 0, so nothing is estimated")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        reference = {Need.REFERENCE_SAMPLED} if self.reference_kl else set()
        return frozenset({Need.REWARD, Need.OLD_LOGPROBS} | reference)

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        assert batch.reward_B is not None
        advantage_B = group_advantage(batch.reward_B, batch.group_B, normalize_std=self.normalize_std)
        return Credit(batch.mask_BT, advantage_B[:, None] * batch.mask_BT)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        policy = self.surrogate(student, batch, credit, "policy_gradient")
        if not self.reference_kl:
            return policy
        reference_BT = reference_divergence(student, batch, self.reference_kl_estimator)
        terms = {**policy.terms, "reference": reference_BT.detach()}
        return TokenLoss(policy.loss_BT + self.reference_kl * reference_BT, terms, policy.token_means)
