"""ScoredBatch -> loss -> optimiser step, the same for every objective. Only the trainer reduces losses."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from tgpo.functional.schedule import learning_rate
from tgpo.metrics.gradients import ExactGroupGradients, GroupGradients, SketchedGroupGradients, add_up
from tgpo.models.policy import Policy
from tgpo.models.weights import full_tensor
from tgpo.objectives.base import Objective
from tgpo.options import MetricsOptions, TrainOptions
from tgpo.runtime import collectives
from tgpo.runtime.parallel_map import SEQUENTIAL, ParallelMap
from tgpo.runtime.profile import timed
from tgpo.seeds import derived_seed
from tgpo.teachers.student import MovingAverage
from tgpo.training.collector import CollectedBatch, NoDemonstrationsError, RolloutCollector
from tgpo.training.micro_batch import empty_forward, forward, logged_values, micro_batch_of, reduced_loss
from tgpo.training.step_metrics import (
    Numbers,
    demonstration_counts,
    is_due,
    means,
    peak_memory,
    response_metrics,
    sum_over_processes,
)
from tgpo.training.updates import Update, micro_batches, split_into_updates
from tgpo.types.scores import Credit

Record = dict[str, float | str]
Values = dict[str, Tensor]


class Trainer:
    """Trains on one rollout batch per call of `step`: collect, credit, then one or several optimiser updates.

    Args:
        parallel: the map that differentiates several micro-batches at a time.
        average: the average of the student's weights that teaches it, if one does.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Objective,
        collector: RolloutCollector,
        options: TrainOptions,
        metrics: MetricsOptions,
        seed: int,
        parallel: ParallelMap = SEQUENTIAL,
        average: MovingAverage | None = None,
    ) -> None:
        self.average = average
        self.policy, self.objective, self.collector = policy, objective, collector
        self.options, self.metrics, self.seed, self.parallel = options, metrics, seed, parallel
        self.mid_step = False  # True from the first update of a step until the step is complete
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True
        )

    def step(self, k: int) -> tuple[Record, CollectedBatch | None]:
        """Trains on rollout batch k = 1, 2, ...; returns the record, with the contract's metric names, and the batch.

        An imitation step for which no demonstration exists makes no update and returns no batch: `train/updates` is 0.
        """
        started = time.perf_counter()
        observed = is_due(k, self.metrics.divergence_every) and self.collector.panel is not None
        observe_topk = self.metrics.topk if observed else 0
        try:
            collected = self.collector.collect(k, self.objective, observe_topk)
        except NoDemonstrationsError as error:
            return self._record_without_update(k, error.missing, started), None
        seconds = collected.seconds
        with timed(seconds, "update"):
            credit, updates = self._updates(k, collected, observe_topk)
            results = [self._update(k, number, update) for number, update in enumerate(updates)]
            with torch.no_grad():
                self.objective.observe(collected.batch)
            if self.average is not None:
                self.average.follow(self.policy)
            self.collector.rollout.sync(k)
        self.mid_step = False
        return self._record(k, collected, credit, results, started), collected

    def gradient(self, batch: int, step: int) -> Tensor:
        """Returns the gradient of the first update on rollout batch `batch`, before clipping, as one vector.

        Trains nothing. Quantities that depend on the step, such as a decaying weight, have their value at step `step`.
        """
        _, updates = self._updates(step, self.collector.collect(batch, self.objective, 0), 0)
        for unit in micro_batches(updates[0], self.options.max_tokens_per_micro_batch, by_group=False):
            for _ in self._backward(updates[0], unit):
                pass
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat([part.flatten() for part in parts])

    def _updates(self, k: int, collected: CollectedBatch, observe_topk: int) -> tuple[Credit, list[Update]]:
        with torch.no_grad():
            credit = self.objective.credit(collected.batch, k)
        groups, count = self.collector.options.prompts_per_batch, self.options.updates_per_batch
        return credit, split_into_updates(collected, credit, self.objective.reduction, groups, count, observe_topk)

    def _update(self, k: int, number: int, update: Update) -> Numbers | None:
        """Makes one optimiser update; returns None if its loss or gradient was not finite and it was skipped."""
        meter, seconds = self._meter(k, number), update.collected.seconds
        units = micro_batches(update, self.options.max_tokens_per_micro_batch, by_group=meter is not None)
        parts = [rows for unit in units for rows in unit]
        ends_unit = [rows is unit[-1] for unit in units for rows in unit]
        sums: Values = {}
        for values, last in zip(self._backward(update, parts), ends_unit, strict=True):
            for name, value in values.items():  # summed on the device, since reading a value would wait for the device
                sums[name] = sums.get(name, 0.0) + value.double()
            if meter and last:
                with timed(seconds, "gradient_variance"):
                    meter.close_group()
        variance: Numbers = {}
        if meter:
            with timed(seconds, "gradient_variance"):
                variance = meter.finish()
        numbers = sum_over_processes(sums)
        norm = float(full_tensor(torch.nn.utils.clip_grad_norm_(self.parameters, self.options.max_grad_norm)))
        finite = math.isfinite(norm) and math.isfinite(numbers["loss/total"])
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(k)
            self.mid_step = True
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**numbers, "gradient/norm": norm, **variance} if finite else None

    def _meter(self, k: int, number: int) -> GroupGradients | None:
        if not is_due(k, self.metrics.gradient_variance_every):
            return None
        if self.metrics.gradient_variance_method == "exact":
            return ExactGroupGradients(self.parameters)
        seed = derived_seed(self.seed, f"sketch/{number}", k) % 2**40
        return SketchedGroupGradients(self.parameters, self.metrics.sketch_size, seed)

    def _backward(self, update: Update, parts: list[Tensor]) -> Iterator[Values]:
        """Yields each micro-batch's share of the values to log, once its gradient has been added."""
        if self.parallel.at_once == 1:
            for rows in parts:
                loss, values = self._loss(update, rows)
                # FSDP averages the gradient over the processes, but each process holds a share of the sum
                (loss * collectives.size()).backward()
                yield values
            return

        def differentiated(rows: Tensor) -> tuple[tuple[Tensor | None, ...], Values]:
            loss, values = self._loss(update, rows)
            return torch.autograd.grad(loss, self.parameters, allow_unused=True), values

        for gradients, values in self.parallel.map(differentiated, parts):
            total = [parameter.grad for parameter in self.parameters]
            add_up(total, {i: gradient for i, gradient in enumerate(gradients) if gradient is not None})
            for parameter, gradient in zip(self.parameters, total, strict=True):
                parameter.grad = gradient
            yield values

    def _loss(self, update: Update, rows: Tensor) -> tuple[Tensor, Values]:
        """Returns one micro-batch's share of the loss, and its share of the values to log."""
        micro = micro_batch_of(update, rows, self.objective, self.collector.teacher_states)
        if micro is None:
            return empty_forward(self.policy, update), {}
        student, batch = forward(self.policy, self.objective, micro)
        answer = self.objective.loss(student, batch, micro.credit)
        loss = reduced_loss(micro, answer, student, self.options.entropy_bonus)
        return loss, logged_values(micro, loss, answer, student)

    def _learning_rate(self, k: int) -> float:
        options = self.options
        return learning_rate(k, options.lr, options.warmup_steps, options.steps, options.lr_schedule)

    def _record(
        self, k: int, collected: CollectedBatch, credit: Credit, results: list[Numbers | None], started: float
    ) -> Record:
        taken, seconds = [numbers for numbers in results if numbers is not None], collected.seconds
        with timed(seconds, "metrics"):
            response_numbers = response_metrics(collected)
        record: Record = {
            "step": k,
            **means(taken),
            **credit.scalars,
            **response_numbers,
            "reward/verifier_timeouts": collected.verifier_timeouts,
            "reward/not_finite": collected.rewards_not_finite,
            **demonstration_counts(collected, self.objective),
            "train/lr": self._learning_rate(k),
            "train/updates": len(results),
            "train/skipped_updates": len(results) - len(taken),
            **{f"time/{name}": value for name, value in seconds.items()},
            "time/step": time.perf_counter() - started,
            "memory/peak_bytes": peak_memory(self.policy.device),
        }
        if is_due(k, self.metrics.gradient_variance_every):
            record["gradient/variance_method"] = self.metrics.gradient_variance_method
        return record

    def _record_without_update(self, k: int, missing: int, started: float) -> Record:
        return {
            "step": k,
            "demonstrations/used": 0,
            "demonstrations/missing": missing,
            "train/lr": self._learning_rate(k),
            "train/updates": 0,
            "train/skipped_updates": 0,
            "time/step": time.perf_counter() - started,
        }
