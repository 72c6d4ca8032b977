"""Rollouts -> ScoredBatch: everything that is the same for every objective.

The engine computes what the objective declares it needs, and what the metrics ask for besides; the objective is
handed only the former.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tgpo.functional.batching import by_token_budget
from tgpo.objectives.base import Objective, topk_asked
from tgpo.policy import Policy
from tgpo.rollout.base import RolloutEngine, Sampling
from tgpo.tasks.base import Task
from tgpo.teachers.base import Teacher
from tgpo.types import TEACHER_NEEDS, Need, Rollout, ScoredBatch, TeacherSignal, TokenBatch


@dataclass(frozen=True)
class Collected:
    """One step's rollouts: what the objective sees (`batch`), and what only the metrics see (the rest)."""

    batch: ScoredBatch
    rollouts: Sequence[Rollout]
    responses: Sequence[str]
    reward_B: Tensor
    sampler_logprobs_BT: Tensor
    observed: TeacherSignal | None
    verifier_timeouts: int
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineOptions:
    """The part of the configuration that shapes a rollout batch."""

    seed: int
    prompts_per_batch: int
    group_size: int
    temperature: float
    max_response_length: int
    recompute_old_logprobs: bool
    max_tokens: int


class Engine:
    """Holds fixed, for all objectives, the problems, the draws, the rewards and the teacher's scores."""

    def __init__(
        self,
        task: Task,
        rollout: RolloutEngine,
        policy: Policy,
        teacher: Teacher | None,
        tokenizer,
        options: EngineOptions,
    ) -> None:
        self.task, self.rollout, self.policy, self.teacher = task, rollout, policy, teacher
        self.tokenizer, self.options = tokenizer, options

    def collect(self, step: int, objective: Objective, observe_topk: int) -> Collected:
        """Samples, rewards and scores one rollout batch.

        Args:
            observe_topk: entries of the teacher's top-k the metrics want this step; 0 for none.
        """
        options, seconds = self.options, {}
        started = time.perf_counter()
        problems = self.task.train_problems(options.seed, step, options.prompts_per_batch)
        sampling = Sampling(
            options.group_size,
            options.temperature,
            options.max_response_length,
            derived_seed(options.seed, "rollout", step),
        )
        rollouts = self.rollout.generate(problems, sampling)
        responses = self.tokenizer.batch_decode([r.response_ids for r in rollouts], skip_special_tokens=True)
        seconds["rollout"] = time.perf_counter() - started

        rewards = self.task.rewards([r.problem for r in rollouts], responses)
        device = self.policy.device
        tokens = pad(rollouts, int(self.tokenizer.pad_token_id or 0)).to(device)
        sampler_BT = pad_logprobs(rollouts, tokens.mask_BT)

        started = time.perf_counter()
        observed = self._ask_teacher(tokens, objective, observe_topk)
        seconds["teacher"] = time.perf_counter() - started

        needs, reward_B = objective.needs, torch.tensor(rewards.values, device=device)
        teacher = observed.narrow(needs, objective.topk) if observed and needs & TEACHER_NEEDS else None
        old_BT, old_at_teacher_topk_BTK = self._score_old(tokens, sampler_BT, objective, observed)
        batch = ScoredBatch(
            tokens=tokens,
            group_B=torch.tensor([r.group for r in rollouts], device=device),
            off_policy_B=torch.tensor([r.source == "teacher" for r in rollouts], device=device),
            reward_B=reward_B if Need.REWARD in needs else None,
            old_logprobs_BT=old_BT,
            old_at_teacher_topk_BTK=old_at_teacher_topk_BTK,
            teacher=teacher,
            max_response_length=options.max_response_length,
        )
        return Collected(batch, rollouts, responses, reward_B, sampler_BT, observed, rewards.timeouts, seconds)

    def _ask_teacher(self, tokens: TokenBatch, objective: Objective, observe_topk: int) -> TeacherSignal | None:
        if not (objective.needs & TEACHER_NEEDS or observe_topk):
            return None
        if self.teacher is None:
            raise ValueError("the objective needs a teacher and there is none")
        return self.teacher.score(tokens, max(topk_asked(objective), observe_topk))

    @torch.no_grad()
    def _score_old(
        self, tokens: TokenBatch, sampler_BT: Tensor, objective: Objective, observed: TeacherSignal | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """`log pi_old` of the sampled tokens and of the teacher's, as far as needed: a forward pass only if it must."""
        needs = objective.needs
        at_teacher_topk = Need.OLD_AT_TEACHER_TOPK in needs
        recompute = Need.OLD_LOGPROBS in needs and self.options.recompute_old_logprobs
        if not (recompute or at_teacher_topk):
            return (sampler_BT if Need.OLD_LOGPROBS in needs else None), None
        ids_BTK = None
        if at_teacher_topk:
            assert observed is not None and observed.topk_ids_BTK is not None
            ids_BTK = observed.topk_ids_BTK[..., : objective.topk]
        old_BT = torch.zeros_like(sampler_BT)
        old_BTK = None if ids_BTK is None else torch.zeros(ids_BTK.shape, device=ids_BTK.device)
        for rows in by_token_budget(tokens.length_B, self.options.max_tokens):
            part = tokens.select(rows)
            width = part.mask_BT.shape[1]
            scores = self.policy(part, None if ids_BTK is None else ids_BTK[rows, :width])
            old_BT[rows, :width] = scores.logprobs_BT
            if old_BTK is not None:
                old_BTK[rows, :width] = scores.at_teacher_topk_BTK
        return (old_BT if recompute else sampler_BT), old_BTK


def derived_seed(seed: int, purpose: str, step: int) -> int:
    """A seed for one purpose at one step: no random state has to be carried from step to step, or to a resumed run."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def pad(rollouts: Sequence[Rollout], pad_id: int) -> TokenBatch:
    """Prompts padded on the left, responses on the right; the mask covers each response with its EOS."""
    prompt_width = max(len(r.prompt_ids) for r in rollouts)
    width = max(len(r.response_ids) for r in rollouts)
    prompt_BP = torch.full((len(rollouts), prompt_width), pad_id)
    response_BT = torch.full((len(rollouts), width), pad_id)
    prompt_mask_BP, mask_BT = torch.zeros(prompt_BP.shape, dtype=torch.long), torch.zeros(response_BT.shape)
    for row, rollout in enumerate(rollouts):
        start, length = prompt_width - len(rollout.prompt_ids), len(rollout.response_ids)
        prompt_BP[row, start:] = torch.tensor(rollout.prompt_ids)
        prompt_mask_BP[row, start:] = 1
        response_BT[row, :length] = torch.tensor(rollout.response_ids)
        mask_BT[row, :length] = 1
    return TokenBatch(prompt_BP, prompt_mask_BP, response_BT, mask_BT)


def pad_logprobs(rollouts: Sequence[Rollout], mask_BT: Tensor) -> Tensor:
    """The sampler's log-probabilities on the grid; 0 at padding and for responses it did not sample."""
    logprobs_BT = torch.zeros(mask_BT.shape)
    for row, rollout in enumerate(rollouts):
        if rollout.logprobs is not None:
            logprobs_BT[row, : len(rollout.logprobs)] = torch.tensor(rollout.logprobs)
    return logprobs_BT.to(mask_BT.device)
