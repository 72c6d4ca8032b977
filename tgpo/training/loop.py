"""The training loop of a run: step, log, evaluate, checkpoint, repeat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo.config.eval_sets import eval_sets
from tgpo.config.request import Request
from tgpo.config.sizes import objective_name
from tgpo.errors import RequestError, StoppedError, writing
from tgpo.evaluation.accuracy import evaluate
from tgpo.metrics.terminal import View, open_view
from tgpo.metrics.writer import Sink, Writer
from tgpo.rollout.base import RolloutEngine
from tgpo.runs.directory import RunDirectory
from tgpo.runs.jsonl import JsonLines
from tgpo.runtime import collectives
from tgpo.runtime.interrupt import Interrupt
from tgpo.runtime.profile import Seconds, profiled, timed
from tgpo.runtime.torchrun import is_main
from tgpo.seeds import derived_seed
from tgpo.training import checkpoint
from tgpo.training.collector import CollectedBatch
from tgpo.training.trainer import Record, Trainer


class RunInterruptedError(Exception):
    """The run was stopped on request; a checkpoint holds every step it made. Exit code 130."""


class RunUnstableError(StoppedError):
    """Too many steps in a row had a loss or gradient that is not finite. A checkpoint was written."""


@dataclass
class Components:
    """The parts that a run is built from."""

    request: Request
    tokenizer: Any
    rollout: RolloutEngine
    trainer: Trainer
    done: int  # steps already taken
    skipped_in_a_row: int = 0  # number of consecutive steps, up to the last one, without a finite update


def train_loop(components: Components, files: RunDirectory, interrupt: Interrupt, writer: Writer) -> Iterator[int]:
    """Yields the number of each step once its files are written, which is before the next step begins."""
    options, progress = components.request.options, RunProgress(components, files, writer)
    steps, profile = options.train.steps, files.path / "profile"

    def stop_requested() -> bool:
        return any(collectives.gather(interrupt.requested))

    with ExitStack() as opened:
        samples = opened.enter_context(open_samples(files.path))
        view = opened.enter_context(open_view(steps, components.done))
        announce(view, components, files.path)
        if stop_requested():  # the request came while the models were loading: there is nothing to save yet
            raise RunInterruptedError
        progress.evaluate_before_the_first()
        if stop_requested():
            raise RunInterruptedError
        profiling = options.train.profile and is_main()
        end_profiled_step = opened.enter_context(profiled(profile if profiling else None))
        for step in range(components.done + 1, steps + 1):
            record, collected = progress.step(step)
            seconds = Seconds()
            with timed(seconds, "logging"):
                writer.write({"kind": "train", **record})
                if collected and (step == 1 or step % options.metrics.rollout_samples_every == 0):
                    for sample in rollout_samples(step, collected, options.metrics.rollout_samples):
                        samples.write(sample)
            if progress.evaluation_due(step):
                with timed(seconds, "evaluation"):
                    progress.evaluate(step)
            with timed(seconds, "logging"):
                view.show(step, writer.latest)
            # Gathered once, so that all processes act alike. A later signal is handled at the end of the next step.
            interrupted = stop_requested()
            if step % options.train.checkpoint_every == 0 or step == steps or progress.unstable or interrupted:
                with timed(seconds, "checkpointing"):
                    progress.save(step)
            yield step
            end_profiled_step(record, seconds)
            if progress.unstable:
                raise RunUnstableError(
                    f"{progress.skipped_in_a_row} steps in a row had a loss or gradient that is not finite; lower "
                    "train.lr"
                )
            if interrupted and step < steps:
                raise RunInterruptedError


class RunProgress:
    """Makes a run's steps, evaluations and checkpoints; counts skipped steps and remembers the last checkpoint."""

    def __init__(self, components: Components, files: RunDirectory, writer: Writer) -> None:
        self.components, self.files, self.writer = components, files, writer
        self.options = components.request.options
        self.skipped_in_a_row, self.saved = components.skipped_in_a_row, components.done

    @property
    def unstable(self) -> bool:
        return self.skipped_in_a_row > self.options.train.max_bad_steps

    def step(self, step: int) -> tuple[Record, CollectedBatch | None]:
        try:
            record, collected = self.components.trainer.step(step)
        except (StoppedError, RequestError):
            if not self.components.trainer.mid_step:
                self.save(step - 1)  # no update was made: the policy is still that of the previous step
            raise
        if record["train/updates"]:
            skipped = record["train/skipped_updates"] == record["train/updates"]
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        return record, collected

    def evaluation_due(self, step: int) -> bool:
        return step % self.options.eval.every == 0 or step == self.options.train.steps

    def evaluate(self, step: int) -> None:
        try:
            record = evaluation_record(self.components, step)
        except StoppedError:
            self.save(step)
            raise
        self.writer.write(record)

    def evaluate_before_the_first(self) -> None:
        """Evaluates the untrained student. A resumed run repeats the evaluation of its last step if that is missing."""
        done = self.components.done
        missing = self.evaluation_due(done) and not collectives.run_on_main(lambda: self.files.evaluated(done))
        if done == 0 or missing:
            self.evaluate(done)

    def save(self, step: int) -> None:
        if step == self.saved > 0:  # a checkpoint is never overwritten: a kill meanwhile would leave one fewer
            return
        folder, trainer = self.files.checkpoints, self.components.trainer
        state = checkpoint.State(
            policy=trainer.policy,
            optimizer=trainer.optimizer,
            objective=trainer.objective,
            average=trainer.average,
            tokenizer=self.components.tokenizer,
            base_model=self.options.student.path,
            skipped_in_a_row=self.skipped_in_a_row,
        )
        with writing(folder / f"step-{step}"):
            checkpoint.save(folder, step, state)
        if is_main():
            checkpoint.prune(folder, self.options.train.keep_checkpoints)
        self.saved = step


def evaluation_record(components: Components, step: int) -> dict[str, Any]:
    options, started, metrics = components.request.options, time.perf_counter(), dict[str, float]()
    for eval_set in eval_sets(components.request):
        sampling = eval_set.sampling(derived_seed(options.seed, "eval", step))
        result = evaluate(
            eval_set, components.rollout, components.tokenizer, sampling, options.eval.rows_at_once,
            options.eval.pass_at,
        )  # fmt: skip
        metrics |= result.metrics
    return {"kind": "eval", "step": step, **metrics, "time/eval": time.perf_counter() - started}


def rollout_samples(step: int, collected: CollectedBatch, count: int) -> Iterator[dict[str, Any]]:
    """Yields `count` rollouts spread evenly over the batch, so that they come from different prompts."""
    total = len(collected.rollouts)
    for row in sorted({i * total // count for i in range(min(count, total))}):
        rollout = collected.rollouts[row]
        yield {
            "step": step,
            "problem": rollout.problem.id,
            "prompt": rollout.problem.prompt,
            "answer": rollout.problem.answer,
            "response": collected.responses[row],
            "reward": float(collected.reward_B[row]),
            "length": len(rollout.response_ids),
            "finish_reason": rollout.finish_reason,
            "source": rollout.source,
        }


def open_writer(request: Request, files: RunDirectory, done: int) -> Writer:
    """Opens the JSON lines file and the sink that `logger` selects.

    In a resumed run, the records after the step it resumes from are removed first.
    """
    files.drop_after(done if done else -1)
    options, directory = request.options, files.path
    if not is_main():
        return Writer([])
    sinks: list[Sink] = [JsonLines(directory / "metrics.jsonl")]
    if options.logger.backend == "wandb":
        from tgpo.metrics.wandb import Home, WandbSink

        home = Home(options.logger.project, options.logger.entity, options.name)
        names = (objective_name(request), options.teacher.name, options.student.name)
        tags = [name[-64:] for name in names]  # the longest tag that W&B accepts
        sinks.append(WandbSink(directory, home, ",".join(options.overrides) or options.name, tags, request.resolved))
    if options.logger.backend == "tensorboard":
        from tgpo.metrics.tensorboard import TensorBoardSink

        sinks.append(TensorBoardSink(directory, request.resolved, done))
    return Writer(sinks)


def open_samples(directory: Path) -> Writer:
    return Writer([JsonLines(directory / "rollouts.jsonl")] if is_main() else [])


def announce(view: View, components: Components, directory: Path) -> None:
    request, options = components.request, components.request.options
    learner = f"{objective_name(request)}: {options.student.name} learns from {options.teacher.name}"
    view.say(f"{learner} on {request.task.name}, seed {options.seed}\nrun directory   {directory}")
    if components.done:
        view.say(f"resumed after step {components.done}")
