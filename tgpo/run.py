"""One run, from a checked request to its report: builds the parts, then goes round the loop."""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from tgpo import checkpoint, distributed
from tgpo.config import Request
from tgpo.demonstrate import demonstrate, recipe
from tgpo.engine import Engine, EngineOptions
from tgpo.errors import RequestError, StoppedError
from tgpo.interrupt import Interrupt
from tgpo.loop import Parts, RunInterruptedError, open_writer, rounds
from tgpo.metrics.writer import Writer
from tgpo.models import eos_ids, load_model, load_tokenizer, master, pick_device, resolve
from tgpo.options import RunOptions, TrainOptions
from tgpo.passes import Passes
from tgpo.policy import Policy
from tgpo.preflight import longest_scored, longest_sequence, most_topk
from tgpo.provenance import provenance
from tgpo.resume import Start
from tgpo.rollout.base import RolloutEngine
from tgpo.rundir import ReadOnly, RunDirectory
from tgpo.sharded import SharedRollout, SharedTeacher, shard
from tgpo.tasks.demonstrations import Demonstrations, agree_on, read
from tgpo.teachers.base import Teacher
from tgpo.trainer import Trainer
from tgpo.types import Need
from tgpo.weights import add_adapters

DEFAULT_THREADS = torch.get_num_threads()  # before any job of a sweep has changed it


def run(request: Request, directory: Path, start: Start | None = None) -> None:
    """Trains as the checked request says, in `directory`, then writes the run's report and prints its last lines."""
    with ExitStack() as closing:
        writer = train(request, directory, start, closing)
        if not distributed.is_main():
            return

        from tgpo.report.page import closing_lines, write_report

        report = write_report(directory)
        writer.attach(report)
        print(closing_lines(directory, report), flush=True)


def train(request: Request, directory: Path, start: Start | None, closing: ExitStack) -> Writer:
    """Runs one checked request in `directory`, or goes on with it from `start`, to the last of its records.

    The writer of those records is closed with `closing`: what comes after training may still be attached to it.
    """
    files = RunDirectory(directory) if distributed.is_main() else ReadOnly(directory)
    if start is None:
        files.create(request.resolved, provenance(request.resolved))
    else:
        check_own_demonstrations(request, directory)
        files.note_resume(provenance(request.resolved) | start.record())
        files.write_config(request.resolved)
        if distributed.is_main():
            checkpoint.drop_after(files.checkpoints, start.step)
    step, parts = start.step if start else 0, None
    files.status("running", step)
    try:
        shown = demonstrations(request, directory)  # can be long, and an interrupt ends it at once
        with Interrupt(several=distributed.size() > 1) as interrupt:
            parts = build(request, start.checkpoint if start else None, shown)
            writer = closing.enter_context(open_writer(request, files, parts.done))
            for step in rounds(parts, files, interrupt, writer):
                files.status("running", step)
    except (RunInterruptedError, KeyboardInterrupt):
        files.status("interrupted", step, f"stopped on request, go on with resume={directory}")
        raise
    except BaseException as error:
        with suppress(StoppedError):  # of a full disk, which may be what is told already
            files.status("failed", step, f"{type(error).__name__}: {error}")
        raise
    else:
        files.status("done", step)  # what comes after can be made again
    finally:
        # now, not while the next job of a sweep runs: a vLLM engine that is collected takes what another one shares
        parts = None
        gc.collect()
    return writer


def demonstrations(request: Request, directory: Path) -> Demonstrations | None:
    """Those at `demonstrations.path`, or the run's own: made here when its objective asks for them."""
    if Need.DEMONSTRATION not in request.objective.needs:
        return None
    if request.options.demonstrations.path is not None:
        return read(Path(request.options.demonstrations.path))
    torch.set_num_threads(request.options.train.threads or DEFAULT_THREADS)
    distributed.once(lambda: demonstrate(request, directory / "demonstrations", print))
    shown = read(directory / "demonstrations")
    if not shown.by_problem:
        raise RequestError(
            "the teacher got none of the run's problems right and there is nothing to show; choose another teacher, or "
            "begin again with more demonstrations.attempts"
        )
    return shown


def check_own_demonstrations(request: Request, directory: Path) -> None:
    """Those a run made for itself must be what the request it is resumed with would make."""
    own = directory / "demonstrations"
    given = request.options.demonstrations.path is not None
    if Need.DEMONSTRATION in request.objective.needs and not given and (own / "recipe.json").is_file():
        agree_on(own, recipe(request))


def build(request: Request, from_checkpoint: Path | None, demonstrations: Demonstrations | None = None) -> Parts:
    """Loads the models and joins the parts. Nothing is loaded twice."""
    options, train, rollout = request.options, request.options.train, request.options.rollout
    device = prepare(options)
    # adapters are put back beside the weights they were trained on
    student = load_student(options, device, from_checkpoint if not options.lora.rank else None)
    model, tokenizer = student.model, student.tokenizer
    if options.lora.rank:
        add_adapters(model, options.lora)
    policy = Policy(model, len(tokenizer), train.max_logits, train.dtype, train.gradient_checkpointing)
    sampler = load_rollout(request, student, longest_sequence(request, tokenizer))
    read = longest_scored(request, tokenizer)
    teacher = load_teacher(request, device, len(tokenizer), read) if options.teacher.path is not None else None
    if distributed.size() > 1:
        shard(policy, train.dtype)
        sampler, teacher = SharedRollout(sampler), SharedTeacher(teacher) if teacher else None
    engine_options = EngineOptions(
        seed=options.seed,
        prompts_per_batch=rollout.prompts_per_batch,
        group_size=rollout.group_size,
        temperature=rollout.temperature,
        max_response_length=rollout.max_response_length,
        recompute_old_logprobs=rollout.old_logprobs == "recompute",
        importance_cap=rollout.importance_cap,
        updates_per_batch=train.updates_per_batch,
        max_tokens=train.max_tokens_per_micro_batch,
        max_states=train.max_logits,
        eos_ids=student.ends,
    )
    engine = Engine(request.task, sampler, policy, teacher, demonstrations, tokenizer, engine_options)
    passes = passes_for(device, train)
    trainer = Trainer(policy, request.objective, engine, train, options.metrics, options.seed, passes)
    done, bad = 0, 0
    if from_checkpoint:
        done, bad = checkpoint.restore(from_checkpoint, policy, trainer.optimizer, trainer.objective)
    sampler.sync(done)
    return Parts(request, tokenizer, sampler, trainer, done, bad)


def prepare(options: RunOptions) -> torch.device:
    """Seeds torch and makes it deterministic where that can be had; returns the device to work on."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.train.threads or DEFAULT_THREADS)
    device = pick_device(options.train.device)
    # on CUDA it would cost speed and still not hold across attention kernels
    torch.use_deterministic_algorithms(device.type == "cpu")
    if device.type == "cpu":
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    return device


def passes_for(device: torch.device, train: TrainOptions) -> Passes:
    return Passes(train.passes(device.type == "cpu", distributed.size(), torch.get_num_threads()))


class Student(NamedTuple):
    """A model as `path` has it, its tokenizer, and the tokens that end a response."""

    path: str
    model: PreTrainedModel
    tokenizer: Any
    ends: tuple[int, ...]


def load_student(options: RunOptions, device: torch.device, trained: Path | None = None) -> Student:
    """The student, or what became of it by the checkpoint `trained`, whose tokenizer has the template already."""
    student = options.student
    path = str(trained / "model") if trained else resolve(student.path, student.revision)
    tokenizer = load_tokenizer(path, chat_template=None if trained else student.chat_template)
    model = load_model(path, master(options.train.dtype), device, replaced=student.config)
    return Student(path, model, tokenizer, eos_ids(model, tokenizer, student.end_tokens))


def load_rollout(request: Request, student: Student, longest: int) -> RolloutEngine:
    """`rollout.backend=hf` is `tgpo/rollout/hf.py`, imported only when asked for."""
    options, dtype = request.options, request.options.train.dtype
    path, model, tokenizer, ends = student
    if options.rollout.backend == "hf":
        from tgpo.rollout import hf

        return hf.load(path, model, tokenizer, ends, dtype, distributed.size() > 1, options.student.config)
    from tgpo.rollout import vllm

    probe = request.task.eval_problems()[:4]
    return vllm.load(path, model, tokenizer, ends, dtype, longest, options.vllm, probe, options.student.config)


def load_teacher(request: Request, device: torch.device, vocabulary: int, longest: int) -> Teacher:
    """`teacher.backend=hf` is `tgpo/teachers/hf.py`, imported only when asked for."""
    options, train, teacher = request.options, request.options.train, request.options.teacher
    assert teacher.path is not None
    if teacher.backend == "server":
        from tgpo.teachers import server

        return server.load(teacher.path, options.server, vocabulary if teacher.extra_tokens == "drop" else None)
    path = resolve(teacher.path, teacher.revision)
    if teacher.backend == "hf":
        from tgpo.teachers import hf

        # cores of its own: the trainer's passes may ask it
        budget = (train.max_logits, train.max_tokens_per_micro_batch, passes_for(device, train))
        return hf.load(path, train.dtype, device, vocabulary, *budget, replaced=teacher.config)
    from tgpo.teachers import vllm

    topk = most_topk(request, vocabulary)
    return vllm.load(path, train.dtype, vocabulary, longest, topk, options.vllm, teacher.config)
