"""The rounds of a run: step, log, evaluate, checkpoint, and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo import checkpoint, distributed
from tgpo.config import Request
from tgpo.engine import Collected
from tgpo.errors import RequestError, StoppedError, writing
from tgpo.evaluation.accuracy import evaluate
from tgpo.evaluation.suite import exams
from tgpo.interrupt import Interrupt
from tgpo.metrics.terminal import View, open_view
from tgpo.metrics.writer import JsonLines, Sink, Writer
from tgpo.preflight import objective_name
from tgpo.profile import Seconds, profiled, timed
from tgpo.rollout.base import RolloutEngine
from tgpo.rundir import RunDirectory
from tgpo.seeds import derived_seed
from tgpo.trainer import Record, Trainer


class RunInterruptedError(Exception):
    """The run was asked to stop and left a checkpoint: exit code 130."""


class RunUnstableError(StoppedError):
    """Too many steps in a row had a loss or gradient that is not finite; there is a checkpoint."""


@dataclass
class Parts:
    """What a run is built from."""

    request: Request
    tokenizer: Any
    rollout: RolloutEngine
    trainer: Trainer
    done: int  # steps already taken
    bad: int = 0  # how many of the last of them in a row were skipped


def rounds(parts: Parts, files: RunDirectory, interrupt: Interrupt, writer: Writer) -> Iterator[int]:
    """Yields each step once it is on disk. Every step's files are written before the next begins."""
    options, course = parts.request.options, Course(parts, files, writer)
    steps, profile = options.train.steps, files.path / "profile"

    def asked_to_stop() -> bool:
        return any(distributed.gather(interrupt.requested))

    with ExitStack() as opened:
        samples = opened.enter_context(open_samples(files.path))
        view = opened.enter_context(open_view(steps, parts.done))
        greet(view, parts, files.path)
        if asked_to_stop():  # while the models were loaded: nothing would be lost
            raise RunInterruptedError
        course.assess_before_the_first()
        if asked_to_stop():
            raise RunInterruptedError
        profiling = options.train.profile and distributed.is_main()
        told = opened.enter_context(profiled(profile if profiling else None))
        for step in range(parts.done + 1, steps + 1):
            record, collected = course.step(step)
            spent = Seconds()
            with timed(spent, "logging"):
                writer.write({"kind": "train", **record})
                if collected and (step == 1 or step % options.metrics.rollout_samples_every == 0):
                    for sample in sampled(step, collected, options.metrics.rollout_samples):
                        samples.write(sample)
            if course.due(step):
                with timed(spent, "evaluation"):
                    course.assess(step)
            with timed(spent, "logging"):
                view.show(step, writer.latest)
            # read once, and of all processes: a signal from here on waits for the next checkpoint
            interrupted = asked_to_stop()
            if step % options.train.checkpoint_every == 0 or step == steps or course.unstable or interrupted:
                with timed(spent, "checkpointing"):
                    course.save(step)
            yield step
            told(record, spent)
            if course.unstable:
                raise RunUnstableError(
                    f"{course.bad} steps in a row had a loss or gradient that is not finite; lower train.lr"
                )
            if interrupted and step < steps:
                raise RunInterruptedError


class Course:
    """How far a run is: its steps, its checkpoints and its evaluations."""

    def __init__(self, parts: Parts, files: RunDirectory, writer: Writer) -> None:
        self.parts, self.files, self.writer = parts, files, writer
        self.options = parts.request.options
        self.bad, self.saved = parts.bad, parts.done

    @property
    def unstable(self) -> bool:
        return self.bad > self.options.train.max_bad_steps

    def step(self, step: int) -> tuple[Record, Collected | None]:
        try:
            record, collected = self.parts.trainer.step(step)
        except (StoppedError, RequestError):
            if not self.parts.trainer.mid_step:
                self.save(step - 1)  # the policy is still that of the step before
            raise
        if record["train/updates"]:
            self.bad = self.bad + 1 if record["train/skipped_updates"] == record["train/updates"] else 0
        return record, collected

    def due(self, step: int) -> bool:
        return step % self.options.eval.every == 0 or step == self.options.train.steps

    def assess(self, step: int) -> None:
        try:
            record = evaluation_record(self.parts, step)
        except StoppedError:
            self.save(step)
            raise
        self.writer.write(record)

    def assess_before_the_first(self) -> None:
        """The untrained student; or of a resumed run the step it stands at, where that was cut off."""
        done = self.parts.done
        if done == 0 or (self.due(done) and not distributed.once(lambda: self.files.evaluated(done))):
            self.assess(done)

    def save(self, step: int) -> None:
        if step == self.saved > 0:  # a checkpoint is never written over: a kill would then leave one fewer
            return
        trainer, folder = self.parts.trainer, self.files.checkpoints
        held = trainer.policy, self.parts.tokenizer, trainer.optimizer, trainer.objective
        with writing(folder / f"step-{step}"):
            checkpoint.save(folder, step, *held, base=self.options.student.path, bad_steps=self.bad)
        if distributed.is_main():
            checkpoint.prune(folder, self.options.train.keep_checkpoints)
        self.saved = step


def evaluation_record(parts: Parts, step: int) -> dict[str, Any]:
    options, started, metrics = parts.request.options, time.perf_counter(), dict[str, float]()
    for exam in exams(parts.request):
        sampling = exam.sampling(derived_seed(options.seed, "eval", step))
        result = evaluate(
            exam, parts.rollout, parts.tokenizer, sampling, options.eval.rows_at_once, options.eval.pass_at
        )
        metrics |= result.metrics
    return {"kind": "eval", "step": step, **metrics, "time/eval": time.perf_counter() - started}


def sampled(step: int, collected: Collected, count: int) -> Iterator[dict[str, Any]]:
    """`count` rollouts spread evenly over the batch, so that they come from different prompts."""
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
    """JSON lines, and what `logger` asks for beside them; of a resumed run, after the records of the steps it keeps."""
    files.drop_after(done if done else -1)
    options, directory = request.options, files.path
    if not distributed.is_main():
        return Writer([])
    sinks: list[Sink] = [JsonLines(directory / "metrics.jsonl")]
    if options.logger.backend == "wandb":
        from tgpo.metrics.wandb import Home, WandbSink

        home = Home(options.logger.project, options.logger.entity, options.name)
        names = (objective_name(request), options.teacher.name, options.student.name)
        tags = [name[-64:] for name in names]  # W&B takes no longer ones
        sinks.append(WandbSink(directory, home, ",".join(options.overrides) or options.name, tags, request.resolved))
    if options.logger.backend == "tensorboard":
        from tgpo.metrics.tensorboard import TensorBoardSink

        sinks.append(TensorBoardSink(directory, request.resolved, done))
    return Writer(sinks)


def open_samples(directory: Path) -> Writer:
    return Writer([JsonLines(directory / "rollouts.jsonl")] if distributed.is_main() else [])


def greet(view: View, parts: Parts, directory: Path) -> None:
    options = parts.request.options
    what = f"{objective_name(parts.request)}: {options.student.name} learns from {options.teacher.name}"
    view.say(f"{what} on {parts.request.task.name}, seed {options.seed}\nrun directory   {directory}")
    if parts.done:
        view.say(f"resumed after step {parts.done}")
