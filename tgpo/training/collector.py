"""Step -> problems -> rollouts -> rewards -> ScoredBatch: everything that is the same for every objective.

The collector computes what the objective declares in `needs` and what the metrics need; the objective receives only
the former.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tgpo.errors import RequestError, StoppedError, program
from tgpo.functional.batching import micro_batches_per_rank
from tgpo.functional.policy_gradient import truncated_ratio
from tgpo.models.policy import Policy
from tgpo.objectives.base import Objective
from tgpo.rollout.base import RolloutEngine, Sampling, decode_responses, encode_prompts
from tgpo.rollout.padding import pad, pad_logprobs
from tgpo.runtime.collectives import rank, run_on_main, size, sum_over_ranks
from tgpo.runtime.profile import Seconds, timed
from tgpo.seeds import derived_seed
from tgpo.tasks.base import Task
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.teachers.base import Teacher, check_signal
from tgpo.teachers.panel import Asked, Panel
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.problem import TEACHER_NEEDS, Answered, Need, Problem, Rollout
from tgpo.types.scores import StudentScores
from tgpo.types.teacher import TeacherQuery, TeacherSignal


class NoDemonstrationsError(RequestError):
    """A batch was to hold demonstrations only, and none of them exists: the step makes no update. `missing` is how many
    were requested."""

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class CollectedBatch:
    """One step's responses. The objective sees `batch`; the other fields are for the metrics only."""

    batch: ScoredBatch
    rollouts: Sequence[Rollout]
    responses: Sequence[str]
    reward_B: Tensor
    sampler_logprobs_BT: Tensor
    observed: TeacherSignal | None
    asked: Asked | None  # what the teachers read, None if they are not asked
    verifier_timeouts: int
    rewards_not_finite: int
    missing_demonstrations: int
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def own_B(self) -> Tensor:
        """The rows that the student sampled, which are the ones that the metrics of its behaviour cover."""
        return (~self.batch.off_policy_B).nonzero()[:, 0]


@dataclass(frozen=True)
class CollectorOptions:
    """The part of the configuration that shapes a rollout batch."""

    seed: int
    prompts_per_batch: int
    group_size: int
    temperature: float
    max_response_length: int
    recompute_old_logprobs: bool
    importance_cap: float | None
    updates_per_batch: int
    max_tokens: int
    max_hidden: int  # the most elements of the teacher's hidden states that are kept for a whole batch
    eos_ids: tuple[int, ...]


class RolloutCollector:
    """Makes the problems, the random draws, the rewards and the teacher's scores the same for all objectives."""

    def __init__(
        self,
        task: Task,
        rollout: RolloutEngine,
        policy: Policy,
        panel: Panel | None,
        reference: Teacher | None,
        demonstrations: Demonstrations | None,
        tokenizer: Any,
        options: CollectorOptions,
    ) -> None:
        self.task, self.rollout, self.policy, self.panel, self.reference = task, rollout, policy, panel, reference
        self.demonstrations, self.tokenizer, self.options = demonstrations, tokenizer, options

    def collect(self, step: int, objective: Objective, observe_topk: int) -> CollectedBatch:
        """Samples, rewards and scores one rollout batch; raises NoDemonstrationsError if it would be empty.

        Args:
            observe_topk: number of the teacher's best tokens that the metrics need in this step; 0 for none.
        """
        options, device = self.options, self.policy.device
        seconds = Seconds()
        with timed(seconds, "rollout"):
            problems = self.task.train_problems(options.seed, step, options.prompts_per_batch)
            rollouts, missing = self._respond(problems, step, objective)
            responses = decode_responses(self.tokenizer, rollouts)
        with timed(seconds, "reward"):
            reward_B, timeouts, not_finite = self._reward(rollouts, responses)
        if not any(r.response_ids for r in rollouts):
            raise StoppedError(
                f"step {step}: none of {len(rollouts)} responses has a token; look at the rollout engine"
            )
        tokens = pad(rollouts, int(self.tokenizer.pad_token_id or 0)).to(device)
        sampler_BT = pad_logprobs(rollouts, tokens.mask_BT)
        written = ScoredBatch(
            tokens=tokens,
            group_B=torch.tensor([r.group for r in rollouts], device=device),
            off_policy_B=torch.tensor([r.source == "teacher" for r in rollouts], device=device),
            reward_B=reward_B if Need.REWARD in objective.needs else None,
            max_response_length=options.max_response_length,
            eos_ids=options.eos_ids,
        )
        if written.off_policy_B.all():
            observe_topk = 0  # the metrics describe responses that the student samples
        asked = None
        if self.panel is not None and (objective.needs & TEACHER_NEEDS or observe_topk):
            rows = zip(rollouts, responses, reward_B.tolist(), strict=True)
            asked = self.panel.ask([Answered(r.problem, text, reward, r.group) for r, text, reward in rows], tokens)
            if not bool(asked.taught_B.all()):
                written = replace(written, taught_B=asked.taught_B)
        batch, observed = self._score(written, asked, sampler_BT, step, objective, observe_topk, seconds)
        counts = timeouts, not_finite, missing
        return CollectedBatch(batch, rollouts, responses, reward_B, sampler_BT, observed, asked, *counts, seconds)

    def _reward(self, rollouts: Sequence[Rollout], responses: Sequence[str]) -> tuple[Tensor, int, int]:
        """Returns `reward_B`, the number of responses that the verifier had no time for, and the number of rewards that
        were not finite. That is a mistake of the task; such a response gets reward 0."""
        # on one process, so that a verifier's timeout gives the same reward on all
        rewards = run_on_main(lambda: self.task.rewards([r.problem for r in rollouts], responses))
        if len(rewards.values) != len(rollouts):
            given = f"{len(rewards.values)} rewards for {len(rollouts)} responses"
            raise RequestError(f"task={self.task.name} gave {given}; fix its rewards()")
        reward_B = torch.tensor(rewards.values, dtype=torch.float32, device=self.policy.device)
        return reward_B.nan_to_num(0.0, 0.0, 0.0), rewards.timeouts, int((~reward_B.isfinite()).sum())

    def _score(
        self,
        batch: ScoredBatch,
        asked: Asked | None,
        sampler_BT: Tensor,
        step: int,
        objective: Objective,
        observe_topk: int,
        seconds: Seconds,
    ) -> tuple[ScoredBatch, TeacherSignal | None]:
        """Returns the batch with the scores by pi_old and the teacher that the objective needs, and the teacher's
        complete signal."""
        needs, cap, tokens = objective.needs, self.options.importance_cap, batch.tokens
        from_sampled = Need.OLD_LOGPROBS in needs or (cap is not None and Need.TEACHER_SAMPLED in needs)
        recompute = self.options.recompute_old_logprobs and from_sampled
        old = None
        if recompute or objective.student_topk:
            with timed(seconds, "old_policy"):
                old = self._score_policy(tokens, topk=objective.student_topk)
        with timed(seconds, "teacher"):
            observed = self._ask_teacher(asked, step, objective, observe_topk, old.topk_ids_BTK if old else None)
            reference_BT = None
            if Need.REFERENCE_SAMPLED in needs:
                reference_BT = self._ask_reference(tokens, asked, observed)
        teacher = observed.narrow(needs, objective.teacher_topk) if observed and needs & TEACHER_NEEDS else None
        old_at_teacher = None
        # with one update per batch the trainer's own forward pass gives this
        if Need.OLD_AT_TEACHER_TOPK in needs and self.options.updates_per_batch > 1:
            with timed(seconds, "old_policy"):
                old_at_teacher = self._score_policy(tokens, teacher).at_teacher_topk_BTK
        old_BT = old.logprobs_BT if old and recompute else sampler_BT
        weights_BT = None
        if recompute and cap is not None:
            weights_BT = importance(old_BT, sampler_BT, batch.off_policy_B, cap)
        scored = replace(
            batch,
            old_logprobs_BT=old_BT * ~batch.off_policy_B[:, None] if Need.OLD_LOGPROBS in needs else None,
            reference_logprobs_BT=reference_BT,
            importance_BT=weights_BT,
            old_at_teacher_topk_BTK=old_at_teacher,
            old_topk_logprobs_BTK=old.topk_logprobs_BTK if old else None,
            teacher=teacher,
        )
        return scored, observed

    def _respond(self, problems: Sequence[Problem], step: int, objective: Objective) -> tuple[list[Rollout], int]:
        """Returns each group's rollouts and demonstrations, and the number of demonstrations that do not exist."""
        options = self.options
        mixes = [objective.mix(group, options.group_size) for group in range(len(problems))]
        most, sampled = max(mix.student for mix in mixes), []
        if most:
            seed = derived_seed(options.seed, "rollout", step)
            sampling = Sampling(most, options.temperature, options.max_response_length, seed, options.group_size)
            sampled = self.rollout.generate(problems, sampling)
        rollouts: list[Rollout] = []
        missing = 0
        for group, (problem, mix) in enumerate(zip(problems, mixes, strict=True)):
            rollouts += sampled[group * most : group * most + mix.student]
            demonstrated = self._demonstrated(problem, group, mix.demonstrations)
            rollouts += demonstrated
            missing += mix.demonstrations - len(demonstrated)
        if not rollouts:
            raise NoDemonstrationsError(
                f"step {step}: none of its {len(problems)} problems has a demonstration; make more with: "
                f"{program('demonstrations')}, or use an objective that samples",
                missing,
            )
        return rollouts, missing

    def _demonstrated(self, problem: Problem, group: int, count: int) -> list[Rollout]:
        if not count:
            return []
        assert self.demonstrations is not None
        demonstrations = self.demonstrations.of(problem)[:count]
        prompt = encode_prompts(self.tokenizer, [problem])[0]
        return [Rollout(problem, group, prompt, ids, None, "teacher", "eos", 0) for ids in demonstrations]

    def _ask_teacher(
        self, asked: Asked | None, step: int, objective: Objective, observe_topk: int, at_ids_BTK: Tensor | None
    ) -> TeacherSignal | None:
        needs = objective.needs
        if not (needs & TEACHER_NEEDS or observe_topk):
            return None
        if self.panel is None or asked is None:
            raise ValueError("the objective needs a teacher and there is none")
        tokens, width = asked.tokens, self.panel.states_width
        kept = width is not None and tokens.mask_BT.numel() * width <= self.options.max_hidden
        query = TeacherQuery(
            # also for the metrics, as it costs nothing once the teacher's head runs; with TEACHER_FULL alone the head
            # runs later, in the policy
            sampled=needs & TEACHER_NEEDS != {Need.TEACHER_FULL} or observe_topk > 0,
            topk=min(max(objective.teacher_topk, observe_topk), len(self.tokenizer)),
            at_ids_BTK=at_ids_BTK,
            uniform_BT=self._teacher_draws(tokens, step) if Need.TEACHER_SAMPLE in needs else None,
            full=Need.TEACHER_FULL in needs and kept,
        )
        if not (query.sampled or query.topk or query.full):
            return None  # the hidden states are requested for each micro-batch
        return replace(self.panel.score(asked, query), student_topk_ids_BTK=at_ids_BTK)

    def teacher_states(self, asked: Asked) -> TeacherSignal:
        """Returns the teacher's hidden states of a few rows; used if those of the whole batch are too large to keep."""
        assert self.panel is not None
        return self.panel.score(asked, TeacherQuery(sampled=False, full=True))

    def _ask_reference(self, tokens: TokenBatch, asked: Asked | None, observed: TeacherSignal | None) -> Tensor:
        """Returns the log-probabilities of the student as it was before training, `[B,T]`: the teacher's, if it is that
        very model and reads the same prompts."""
        assert self.reference is not None
        if asked is not None and observed is not None and observed.sampled_logprobs_BT is not None:
            assert self.panel is not None
            alone = len(self.panel.members) == 1 and self.panel.members[0].teacher is self.reference
            if alone and self.panel.reads_what_the_student_reads:
                return observed.sampled_logprobs_BT
        query = TeacherQuery()
        signal = self.reference.score(tokens, query)
        check_signal(signal, query, tokens, len(self.tokenizer))
        assert signal.sampled_logprobs_BT is not None
        return signal.sampled_logprobs_BT

    def _teacher_draws(self, tokens: TokenBatch, step: int) -> Tensor:
        """Returns a random number for each (response, position): a draw does not depend on how the batch is split."""
        generator = torch.Generator().manual_seed(derived_seed(self.options.seed, "teacher", step))
        drawn_BT = torch.rand(tokens.mask_BT.shape, generator=generator, dtype=torch.float64)
        return drawn_BT.to(tokens.mask_BT.device)

    @torch.no_grad()
    def _score_policy(self, tokens: TokenBatch, teacher: TeacherSignal | None = None, topk: int = 0) -> StudentScores:
        """Returns the current policy's scores of the whole batch: an extra forward pass, which few objectives need."""
        shape, grids = tokens.mask_BT.shape, {}
        for rows in micro_batches_per_rank(tokens.length_B, self.options.max_tokens, size())[rank()]:
            taken = rows if len(rows) else tokens.length_B.argmin()[None]  # all processes make each pass together
            part = tokens.select(taken)
            width = part.mask_BT.shape[1]
            scores = self.policy(part, teacher.select(taken, width) if teacher else None, topk)
            for name, values_BT in vars(scores).items():
                if values_BT is not None:
                    grid = grids.setdefault(name, values_BT.new_zeros(*shape, *values_BT.shape[2:]))
                    grid[rows, :width] = values_BT[: len(rows)]
        return StudentScores(**{name: sum_over_ranks(grid) for name, grid in grids.items()})


def importance(old_BT: Tensor, sampler_BT: Tensor, off_policy_B: Tensor, cap: float) -> Tensor:
    """Returns `min(pi_old(a_t) / sampler(a_t), cap)` for the student's tokens and 1 for demonstrations.

    The sampler and the trainer round differently, so the tokens are sampled from a slightly different policy than the
    trainer's; weighting each token's policy gradient by this ratio corrects for it, up to the cap. Source: truncated
    importance sampling, Ionides 2008; for samplers of language models: Yao et al., "Your Efficient RL Framework
    Secretly Brings You Off-Policy RL Training" (2025).
    """
    return torch.where(off_policy_B[:, None], 1.0, truncated_ratio(old_BT, sampler_BT, cap))
