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
from tgpo.trainer import Trainer


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
    options = parts.request.options
    steps, bad, saved = options.train.steps, parts.bad, parts.done

    def assess(step: int) -> None:
        try:
            record = evaluation_record(parts, step)
        except StoppedError:
            save(step)
            raise
        writer.write(record)

    def save(step: int) -> None:
        nonlocal saved
        if step == saved > 0:  # a checkpoint is never written over: a kill would then leave one fewer
            return
        trainer = parts.trainer
        parts_of_it = trainer.policy, parts.tokenizer, trainer.optimizer, trainer.objective
        with writing(files.checkpoints / f"step-{step}"):
            checkpoint.save(files.checkpoints, step, *parts_of_it, base=options.student.path, bad_steps=bad)
        if distributed.is_main():
            checkpoint.prune(files.checkpoints, options.train.keep_checkpoints)
        saved = step

    def stop_if_asked() -> None:
        if any(distributed.gather(interrupt.requested)):
            raise RunInterruptedError

    def due(step: int) -> bool:
        return step % options.eval.every == 0 or step == steps

    with ExitStack() as opened:
        samples, view = (
            opened.enter_context(open_samples(files.path)),
            opened.enter_context(open_view(steps, parts.done)),
        )
        greet(view, parts, files.path)
        stop_if_asked()  # while the models were loaded: nothing would be lost
        if parts.done == 0 or (due(parts.done) and not distributed.once(lambda: files.evaluated(parts.done))):
            assess(parts.done)
        stop_if_asked()
        profile = files.path / "profile" if options.train.profile and distributed.is_main() else None
        profile_step = opened.enter_context(profiled(profile))
        for step in range(parts.done + 1, steps + 1):
            try:
                record, collected = parts.trainer.step(step)
            except (StoppedError, RequestError):
                save(step - 1)  # the policy is still that of the step before
                raise
            spent = Seconds()
            with timed(spent, "logging"):
                writer.write({"kind": "train", **record})
                if step == 1 or step % options.metrics.rollout_samples_every == 0:
                    for sample in sampled(step, collected, options.metrics.rollout_samples):
                        samples.write(sample)
            if due(step):
                with timed(spent, "evaluation"):
                    assess(step)
            with timed(spent, "logging"):
                view.show(step, writer.latest)
            bad = bad + 1 if record["train/skipped_updates"] == record["train/updates"] else 0
            unstable = bad > options.train.max_bad_steps
            # read once, and of all processes: a signal from here on waits for the next checkpoint
            interrupted = any(distributed.gather(interrupt.requested))
            last = step == steps or unstable or interrupted
            if step % options.train.checkpoint_every == 0 or last:
                with timed(spent, "checkpointing"):
                    save(step)
            yield step
            profile_step(record, spent)
            if unstable:
                raise RunUnstableError(
                    f"{bad} steps in a row had a loss or gradient that is not finite; lower train.lr"
                )
            if interrupted and step < steps:
                raise RunInterruptedError


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
