"""ScoredBatch -> loss -> step. Knows no objective by name, and is the only place where losses are reduced."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tgpo import distributed
from tgpo.engine import Collected, Engine, NothingToImitateError
from tgpo.functional.batching import dealt
from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.schedule import learning_rate
from tgpo.metrics.divergence import divergence_metrics, topk_overlap
from tgpo.metrics.gradients import ExactGroupGradients, GroupGradients, SketchedGroupGradients, add_up
from tgpo.metrics.lengths import length_metrics, reward_metrics
from tgpo.objectives.base import Objective
from tgpo.options import MetricsOptions, TrainOptions
from tgpo.passes import ONE, Passes
from tgpo.policy import Policy
from tgpo.profile import timed
from tgpo.seeds import derived_seed
from tgpo.types import Credit, Need, ScoredBatch, TeacherSignal
from tgpo.weights import whole

Numbers = dict[str, float]
Record = dict[str, float | str]


@dataclass(frozen=True)
class Update:
    """One optimiser step: the rows of a rollout batch it trains on, and what each of their tokens weighs in it."""

    collected: Collected
    credit: Credit
    row_U: Tensor
    weights_BT: Tensor  # 0 outside the rows
    first: bool  # the policy is still the one that sampled
    observe_topk: int
    trained_tokens: float  # at least 1: what the logged means divide by
    own_tokens: float  # of these the student's; without any, what is measured on them is not


class Trainer:
    """One call of `step` is one rollout batch: collect, credit, then one or several optimiser updates."""

    def __init__(
        self,
        policy: Policy,
        objective: Objective,
        engine: Engine,
        options: TrainOptions,
        metrics: MetricsOptions,
        seed: int,
        passes: Passes = ONE,
    ) -> None:
        self.policy, self.objective, self.engine = policy, objective, engine
        self.options, self.metrics, self.seed, self.passes = options, metrics, seed, passes
        self.mid_step = False  # whether the weights are those of no step: some updates of one are made and not all
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True
        )

    def step(self, k: int) -> tuple[Record, Collected | None]:
        """Trains on rollout batch k = 1, 2, ...; returns its record under contract names, and the batch.

        A step of imitation that has nothing to imitate is one without an update: no batch, and `train/updates` 0.
        """
        started = time.perf_counter()
        due = is_due(k, self.metrics.divergence_every) and self.engine.teacher is not None
        observe_topk = self.metrics.topk if due else 0
        try:
            collected = self.engine.collect(k, self.objective, observe_topk)
        except NothingToImitateError as nothing:
            return self._idle(k, nothing.missing, started), None
        seconds = collected.seconds
        with timed(seconds, "update"):
            credit, updates = self._updates(k, collected, observe_topk)
            answers = [self._update(k, number, update) for number, update in enumerate(updates)]
            with torch.no_grad():
                self.objective.observe(collected.batch)
            self.engine.rollout.sync(k)
        self.mid_step = False
        taken = [answer for answer in answers if answer is not None]
        with timed(seconds, "metrics"):
            behaved = behaviour(collected)
        record: Record = {
            "step": k,
            **means(taken),
            **credit.scalars,
            **behaved,
            "reward/verifier_timeouts": collected.verifier_timeouts,
            "reward/not_finite": collected.rewards_not_finite,
            **demonstrations(collected, self.objective),
            "train/lr": self._learning_rate(k),
            "train/updates": len(answers),
            "train/skipped_updates": len(answers) - len(taken),
            **{f"time/{name}": value for name, value in seconds.items()},
            "time/step": time.perf_counter() - started,
            "memory/peak_bytes": peak_memory(self.policy.device),
        }
        if is_due(k, self.metrics.gradient_variance_every):
            record["gradient/variance_method"] = self.metrics.gradient_variance_method
        return record, collected

    def _idle(self, k: int, missing: int, started: float) -> Record:
        return {
            "step": k,
            "demonstrations/used": 0,
            "demonstrations/missing": missing,
            "train/lr": self._learning_rate(k),
            "train/updates": 0,
            "train/skipped_updates": 0,
            "time/step": time.perf_counter() - started,
        }

    def gradient(self, batch: int, step: int) -> Tensor:
        """Of the first update on rollout batch number `batch`, before clipping, as one vector. Nothing is trained.

        What goes by the step, a weight that falls say, is as in `step`.
        """
        _, updates = self._updates(step, self.engine.collect(batch, self.objective, 0), 0)
        for unit in self._micro_batches(updates[0], by_group=False):
            for _ in self._backward(updates[0], unit):
                pass
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat([part.flatten() for part in parts])

    def _updates(self, k: int, collected: Collected, observe_topk: int) -> tuple[Credit, list[Update]]:
        with torch.no_grad():
            credit = self.objective.credit(collected.batch, k)
        return credit, self._split(collected, credit, observe_topk)

    def _split(self, collected: Collected, credit: Credit, observe_topk: int) -> list[Update]:
        """Whole groups, in the order they were rolled out, into equal updates; each reduces over its own tokens.

        A group that has no response, for want of a demonstration, leaves its update smaller; an empty one is left out.
        """
        batch, updates = collected.batch, []
        all_groups = torch.arange(self.engine.options.prompts_per_batch, device=batch.group_B.device)
        for groups in all_groups.chunk(self.options.updates_per_batch):
            row_U = torch.isin(batch.group_B, groups).nonzero()[:, 0]
            if not len(row_U):
                continue
            mask_UT, weights_BT = credit.mask_BT[row_U], torch.zeros_like(credit.mask_BT)
            weights_BT[row_U] = token_weights(mask_UT, self.objective.reduction, batch.max_response_length)
            trained = max(float(mask_UT.sum()), 1.0)
            own = float((mask_UT * ~batch.off_policy_B[row_U, None]).sum())
            updates.append(
                Update(collected, credit, row_U, weights_BT, not updates, observe_topk if own else 0, trained, own)
            )
        return updates

    def _update(self, k: int, number: int, update: Update) -> Numbers | None:
        """One optimiser step; None when its loss or gradient was not finite and it was skipped."""
        meter, seconds = self._meter(k, number), update.collected.seconds
        sums: defaultdict[str, float] = defaultdict(float)
        units = self._micro_batches(update, by_group=meter is not None)
        parts = [rows for unit in units for rows in unit]
        ends_unit = [rows is unit[-1] for unit in units for rows in unit]
        for values, last in zip(self._backward(update, parts), ends_unit, strict=True):
            for name, value in values.items():
                sums[name] += float(value)
            if meter and last:
                with timed(seconds, "gradient_variance"):
                    meter.close_group()
        variance: Numbers = {}
        if meter:
            with timed(seconds, "gradient_variance"):
                variance = meter.finish()
        sums = added(distributed.gather(sums))
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.parameters, self.options.max_grad_norm)))
        finite = math.isfinite(norm) and math.isfinite(sums["loss/total"])
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(k)
            self.mid_step = True
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**sums, "gradient/norm": norm, **variance} if finite else None

    def _micro_batches(self, update: Update, by_group: bool) -> list[list[Tensor]]:
        """Rows of each of this process's micro-batches, in units whose gradient is measured as one: each group, or the
        whole update. All processes have as many: a sharded model's passes are made together, an empty one if need be.
        """
        batch = update.collected.batch
        lengths_B = batch.tokens.length_B
        units = [update.row_U]
        if by_group:
            group_U = batch.group_B[update.row_U]
            units = [update.row_U[group_U == group] for group in group_U.unique()]
        budget = self.options.max_tokens_per_micro_batch
        plans = [dealt(lengths_B[row_U], budget, distributed.size())[distributed.rank()] for row_U in units]
        return [[row_U[part] for part in plan] for row_U, plan in zip(units, plans, strict=True)]

    def _meter(self, k: int, number: int) -> GroupGradients | None:
        if not is_due(k, self.metrics.gradient_variance_every):
            return None
        if self.metrics.gradient_variance_method == "exact":
            return ExactGroupGradients(self.parameters)
        seed = derived_seed(self.seed, f"sketch/{number}", k) % 2**40
        return SketchedGroupGradients(self.parameters, self.metrics.sketch_size, seed)

    def _backward(self, update: Update, parts: list[Tensor]) -> Iterator[dict[str, Tensor]]:
        """Of each micro-batch in turn its share of the values to log, once its gradient has been added."""
        if self.passes.at_once == 1:
            for rows in parts:
                loss, values = self._loss(update, rows)
                # a sharded model's gradient is the mean over the processes, and each has a share of the sum
                (loss * distributed.size()).backward()
                yield values
            return

        def differentiated(rows: Tensor) -> tuple[tuple[Tensor | None, ...], dict[str, Tensor]]:
            loss, values = self._loss(update, rows)
            return torch.autograd.grad(loss, self.parameters, allow_unused=True), values

        for gradients, values in self.passes.map(differentiated, parts):
            total = [parameter.grad for parameter in self.parameters]
            add_up(total, {i: gradient for i, gradient in enumerate(gradients) if gradient is not None})
            for parameter, gradient in zip(self.parameters, total, strict=True):
                parameter.grad = gradient
            yield values

    def _loss(self, update: Update, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """One micro-batch's share of the loss, and of the values to log."""
        batch = update.collected.batch.select(rows) if len(rows) else None
        teacher = self._teacher(update, batch)
        if batch is None:
            return self._nothing(update), {}
        width = batch.mask_BT.shape[1]
        credit, weights_BT = update.credit.select(rows, width), update.weights_BT[rows, :width]
        student = self.policy(batch.tokens, teacher, update.observe_topk, self.objective.divergence)
        if Need.OLD_AT_TEACHER_TOPK in self.objective.needs and batch.old_at_teacher_topk_BTK is None:
            # one update a batch: pi_old is the policy as it stands
            assert student.at_teacher_topk_BTK is not None
            batch = replace(batch, old_at_teacher_topk_BTK=student.at_teacher_topk_BTK.detach())
        answer = self.objective.loss(student, batch, credit)
        trained = update.trained_tokens
        loss = reduce(answer.loss_BT, weights_BT)
        if self.options.entropy_bonus:
            loss = loss - self.options.entropy_bonus * reduce(student.entropy_BT, credit.mask_BT / trained)
        token_means = {"policy/entropy": student.entropy_BT.detach(), **answer.token_means}
        own_means = {}
        if update.first and update.own_tokens:
            sampler_BT = update.collected.sampler_logprobs_BT[rows, :width]
            own_means["policy/sampler_logprob_gap"] = (sampler_BT - student.logprobs_BT.detach()).abs()
        if update.observe_topk and update.collected.observed and student.topk_ids_BTK is not None:
            theirs_BTK = update.collected.observed.topk_ids_BTK
            assert theirs_BTK is not None
            theirs_BTK = theirs_BTK[rows, :width, : update.observe_topk]
            own_means["divergence/topk_overlap"] = topk_overlap(student.topk_ids_BTK, theirs_BTK)
        own_BT = credit.mask_BT * ~batch.off_policy_B[:, None]
        return loss, {
            "loss/total": loss.detach(),
            **{f"loss/{name}": reduce(term_BT, weights_BT) for name, term_BT in answer.terms.items()},
            **{name: (value_BT * credit.mask_BT).sum() / trained for name, value_BT in token_means.items()},
            **{name: (value_BT * own_BT).sum() / update.own_tokens for name, value_BT in own_means.items()},
        }

    def _teacher(self, update: Update, batch: ScoredBatch | None) -> TeacherSignal | None:
        """What it says of a micro-batch; asked for here where its states of the whole batch were not kept."""
        whole = update.collected.batch.teacher
        if Need.TEACHER_FULL not in self.objective.needs or (whole and whole.hidden_BTH is not None):
            return batch.teacher if batch else None
        return distributed.side_by_side(lambda: self.engine.teacher_states(batch.tokens) if batch else None)

    def _nothing(self, update: Update) -> Tensor:
        """The loss of a micro-batch that adds nothing, whose passes are made because other processes make theirs."""
        tokens = update.collected.batch.tokens
        student = self.policy(tokens.select(tokens.length_B.argmin()[None]))
        return student.logprobs_BT.sum() * 0.0

    def _learning_rate(self, k: int) -> float:
        options = self.options
        return learning_rate(k, options.lr, options.warmup_steps, options.steps, options.lr_schedule)


def behaviour(collected: Collected) -> Numbers:
    """Of the responses the student sampled: rewards, lengths, divergence from the teacher. Empty without any."""
    batch, rows = collected.batch, collected.own_B
    if not len(rows):
        return {}
    own_BT = batch.mask_BT * ~batch.off_policy_B[:, None]
    rollouts, responses = zip(*((collected.rollouts[i], collected.responses[i]) for i in rows.tolist()), strict=True)
    numbers = {
        **reward_metrics(collected.reward_B[rows], batch.group_B[rows]),
        **length_metrics(rollouts, responses, collected.reward_B[rows], batch.eos_ids),
        "throughput/response_tokens_per_second": float(own_BT.sum()) / collected.seconds["rollout"],
    }
    if collected.observed is not None and collected.observed.sampled_logprobs_BT is not None:
        response_BT, sampler_BT = batch.tokens.response_BT, collected.sampler_logprobs_BT
        numbers |= divergence_metrics(response_BT, own_BT, sampler_BT, collected.observed)
    return numbers


def demonstrations(collected: Collected, objective: Objective) -> Numbers:
    """How many demonstrations the batch holds, and how many were asked for that do not exist."""
    if Need.DEMONSTRATION not in objective.needs:
        return {}
    used = int(collected.batch.off_policy_B.sum())
    return {"demonstrations/used": used, "demonstrations/missing": collected.missing_demonstrations}


def added(records: list[defaultdict[str, float]]) -> defaultdict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for record in records:
        for name, value in record.items():
            total[name] += value
    return total


def is_due(k: int, every: int) -> bool:
    """The first step and every `every`-th after it; never when `every` is 0."""
    return every > 0 and (k - 1) % every == 0


def means(records: list[Numbers]) -> Numbers:
    """The mean of each metric over the updates that carry it."""
    names = {name: None for record in records for name in record}
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def peak_memory(device: torch.device) -> int:
    """The most memory used so far: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
