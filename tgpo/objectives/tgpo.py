"""Teacher-Guided Policy Optimization: GRPO plus the likelihood of the teacher's own next token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.functional.advantage import Mask, group_gate, guided
from tgpo.functional.schedule import dual_ascent, linear_decay
from tgpo.objectives.base import LinearWeight, Share, Weight
from tgpo.objectives.grpo import GRPO, VARIANTS
from tgpo.objectives.target import Target, choice, guidance
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import STRICT, Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TGPO(GRPO):
    r"""`loss_t = PPO(A)_t + w_k * (-log pi_theta(y*_t | s_t))`, `y*_t = argmax_v pi_T(v | s_t)`.

    By default at EVERY position of the student's own rollout, the student is trained on y*_t, the token that the
    teacher would have written there, whether the rollout is right or wrong. This term is called the guidance. Its
    weight `w_k = max(w_1 - (k-1) d, w_min)` decays linearly with the step k; `weight` is `[w_1, d, w_min]`. Detached:
    the advantage, the old log-probabilities, the teacher's choice, the weight. The logged `loss/teacher` is the
    guidance before weighting, reduced as the loss is (nats per token; `variant: dr_grpo`: per position up to the cap).

    - `target: sample` replaces y*_t by a token drawn from the teacher (temperature 1); `topk` replaces the guidance by
      the forward KL on the teacher's `topk` best tokens, with the teacher renormalised and the student not.
    - `reward: false` drops the GRPO term, which leaves cross-entropy on the teacher's tokens in the student's states.
    - `mask_eos` leaves the guidance out where y*_t (with `topk`: the first choice) ends the response; the reduction
      still divides by all tokens. arXiv 2609.04108 finds that this matters.
    - `mask`: `incorrect` gives the guidance to rollouts with reward 0 alone, `unsolved_group` to those of prompts that
      no rollout solved; arXiv 2605.10889 finds that it is the wrong ones that it helps. The reduction still divides by
      all tokens.
    - `until` is a hard switch: the weight is 0 after that step, whatever the schedule says.
    - `weighting: adaptive` (this project's; the paper leaves it open) adapts the weight to the student's progress.
      `gate` multiplies it by `4 p (1 - p)`, p the fraction of the group that is right: no guidance where all or none
      are. `mismatch_budget` replaces the schedule: the weight starts at w_1 and after each step changes by
      `dual_rate (mismatch_k - budget)`, never below 0 (dual ascent on the constraint `mismatch <= budget`), where
      mismatch is the fraction of tokens that differ from y*_t; d and w_min are not read.

    Source: TGPO, arXiv 2605.13230; paper defaults w_1 = 2e-3, d = 1e-5, w_min = 0.
    """

    weight: LinearWeight = (2e-3, 1e-5, 0.0)
    target: Target = "argmax"
    topk: Annotated[int, Field(ge=1)] = 1
    reward: bool = True
    mask_eos: bool = False
    mask: Mask = "none"
    until: Annotated[int, Field(ge=1)] | None = None
    weighting: Literal["schedule", "adaptive"] = "schedule"
    gate: bool = True
    mismatch_budget: Share | None = None
    dual_rate: Weight = 0.1
    _dual: dict[str, float] = field(init=False, repr=False, default_factory=dict)  # the controller: {"weight": w_k}

    @model_validator(mode="after")
    def _options_fit_together(self) -> TGPO:
        if (self.topk > 1) != (self.target == "topk"):
            raise ValueError("topk is 1 for target: argmax and target: sample, and 2 or more for target: topk")
        if self.mismatch_budget is not None and self.weighting != "adaptive":
            raise ValueError("mismatch_budget is used only with weighting: adaptive")
        if self.weighting == "schedule":
            self.refuse_unread({"gate": True}, "the gate is used only with weighting: adaptive")
        if self.weighting == "adaptive" and not self.gate and self.mismatch_budget is None:
            raise ValueError("weighting: adaptive needs gate: true, a mismatch_budget, or both")
        if self.mismatch_budget is not None and self.target == "sample":
            raise ValueError("mismatch_budget counts tokens unlike the teacher's best; not for target: sample")
        if not self.reward:
            of_grpo = {k: VARIANTS[self.variant].get(k, 0.0) for k in ("clip_high", "normalize_std", "reference_kl")}
            self.refuse_unread({"clip_low": 0.2, **of_grpo}, "without reward there is no GRPO term to set it for")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        taught = {Need.TEACHER_SAMPLE if self.target == "sample" else Need.TEACHER_TOPK}
        policy = super().needs if self.reward else frozenset()
        return policy | taught | ({Need.REWARD} if self._gated or self.mask != "none" else set())

    @property
    def teacher_topk(self) -> int:
        return 0 if self.target == "sample" else self.topk

    @property
    def needs_groups(self) -> bool:
        return self.reward or self._gated

    @property
    def _gated(self) -> bool:
        return self.weighting == "adaptive" and self.gate

    def credit(self, batch: ScoredBatch, step: int) -> Credit:
        weight = linear_decay(step, *self.weight)
        if self.mismatch_budget is not None:
            weight = self._dual.get("weight", self.weight[0])
        if self.until is not None and step > self.until:
            weight = 0.0
        weight_BT, scalars = weight * batch.teacher_mask_BT, {"loss/teacher_weight": weight}
        if self._gated:
            assert batch.reward_B is not None
            gate_B = group_gate(batch.reward_B, batch.group_B)
            weight_BT, scalars["loss/teacher_gate"] = weight_BT * gate_B[:, None], float(gate_B.mean())
        if self.mask != "none":
            assert batch.reward_B is not None
            weight_BT = weight_BT * guided(self.mask, batch.reward_B, batch.group_B)[:, None]
        if self.mask_eos:
            assert batch.eos_ids, "mask_eos needs the batch's eos_ids"
            ends = torch.tensor(batch.eos_ids, device=weight_BT.device)
            weight_BT = weight_BT.masked_fill(torch.isin(choice(self.target, batch), ends), 0.0)
        policy = super().credit(batch, step) if self.reward else Credit(batch.mask_BT)
        return replace(policy, teacher_weight_BT=weight_BT, scalars=scalars)

    def loss(self, student: StudentScores, batch: ScoredBatch, credit: Credit) -> TokenLoss:
        assert credit.teacher_weight_BT is not None
        teacher_BT = guidance(self.target, student, batch) * batch.teacher_mask_BT
        guidance_BT, terms = credit.teacher_weight_BT * teacher_BT, {"teacher": teacher_BT.detach()}
        if not self.reward:
            return TokenLoss(guidance_BT, terms)
        policy = super().loss(student, batch, credit)
        return TokenLoss(policy.loss_BT + guidance_BT, {**policy.terms, **terms}, policy.token_means)

    def observe(self, batch: ScoredBatch) -> None:
        if self.mismatch_budget is None:
            return
        differs_BT = (choice(self.target, batch) != batch.tokens.response_BT) * batch.teacher_mask_BT
        mismatch = float(differs_BT.sum() / batch.teacher_mask_BT.sum().clamp(min=1))
        weight = self._dual.get("weight", self.weight[0])
        self._dual["weight"] = dual_ascent(weight, mismatch, self.mismatch_budget, self.dual_rate)

    def state_dict(self) -> dict[str, float]:
        return dict(self._dual)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._dual.update(state)
