"""One run, from a checked request to its report: builds the parts, then goes round the loop."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from tgpo import checkpoint
from tgpo.config import Request, RunOptions
from tgpo.demonstrate import demonstrate
from tgpo.engine import Engine, EngineOptions
from tgpo.interrupt import Interrupt
from tgpo.loop import Parts, RunInterruptedError, rounds
from tgpo.models import eos_ids, load_model, load_tokenizer, pick_device
from tgpo.policy import Policy
from tgpo.preflight import longest_sequence
from tgpo.provenance import provenance
from tgpo.report.page import closing_lines, write_report
from tgpo.rollout.base import RolloutEngine
from tgpo.rundir import RunDirectory
from tgpo.tasks.demonstrations import Demonstrations, read
from tgpo.teachers.base import Teacher
from tgpo.trainer import Trainer
from tgpo.types import Need

DEFAULT_THREADS = torch.get_num_threads()  # before any job of a sweep has changed it


def run(request: Request, directory: Path, *, resume: bool) -> Path:
    """Runs (or resumes) one checked request in `directory`; returns the path of its report."""
    files = RunDirectory(directory)
    from_checkpoint = checkpoint.newest(directory) if resume else None
    if resume:
        files.note_resume(provenance(request.resolved))
    else:
        files.create(request.resolved, provenance(request.resolved))
    step, parts = checkpoint.step_of(from_checkpoint) if from_checkpoint else 0, None
    files.status("running", step)
    try:
        shown = demonstrations(request, directory)  # can be long, and an interrupt ends it at once
        with Interrupt() as interrupt:
            parts = build(request, from_checkpoint, shown)
            for step in rounds(parts, files, interrupt):
                files.status("running", step)
        files.status("done", step)
    except (RunInterruptedError, KeyboardInterrupt):
        resumable = bool(checkpoint.complete(files.checkpoints))
        hint = f"go on with resume={directory}" if resumable else "before its first checkpoint: it cannot be resumed"
        files.status("interrupted", step, f"stopped on request, {hint}")
        raise
    except BaseException as error:
        files.status("failed", step, f"{type(error).__name__}: {error}")
        raise
    finally:
        # now, not while the next job of a sweep runs: a vLLM engine that is collected takes what another one shares
        parts = None
        gc.collect()
    report = write_report(directory)
    print(closing_lines(directory, report), flush=True)
    return report


def demonstrations(request: Request, directory: Path) -> Demonstrations | None:
    """Those at `demonstrations.path`, or the run's own: made here when its objective asks for them."""
    if Need.DEMONSTRATION not in request.objective.needs:
        return None
    if request.options.demonstrations.path is not None:
        return read(Path(request.options.demonstrations.path))
    torch.set_num_threads(request.options.train.threads or DEFAULT_THREADS)
    demonstrate(request, directory / "demonstrations", print)
    return read(directory / "demonstrations")


def build(request: Request, from_checkpoint: Path | None, demonstrations: Demonstrations | None = None) -> Parts:
    """Loads the models and joins the parts. Nothing is loaded twice."""
    options, train, rollout = request.options, request.options.train, request.options.rollout
    device = prepare(options)
    student_path = str(from_checkpoint / "model") if from_checkpoint else options.student.path
    tokenizer = load_tokenizer(student_path)
    model = load_model(student_path, "float32", device)
    policy = Policy(model, len(tokenizer), train.max_logits, train.dtype)
    teacher = None
    ends, longest = eos_ids(model, tokenizer), longest_sequence(request, tokenizer)
    sampler = load_rollout(request, student_path, model, tokenizer, ends, longest)
    if options.teacher.path is not None:
        teacher = load_teacher(request, device, len(tokenizer), longest)
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
        eos_ids=ends,
    )
    engine = Engine(request.task, sampler, policy, teacher, demonstrations, tokenizer, engine_options)
    trainer = Trainer(policy, request.objective, engine, train, options.metrics, options.seed)
    done = 0
    if from_checkpoint:
        done = checkpoint.restore(from_checkpoint, policy, trainer.optimizer, trainer.objective)
    sampler.sync(done)
    return Parts(request, tokenizer, sampler, trainer, done)


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


def load_rollout(
    request: Request, path: str, model: Any, tokenizer: Any, ends: tuple[int, ...], longest: int
) -> RolloutEngine:
    """`rollout.backend=hf` is `tgpo/rollout/hf.py`, imported only when asked for."""
    options, dtype = request.options, request.options.train.dtype
    if options.rollout.backend == "hf":
        from tgpo.rollout import hf

        return hf.load(model, tokenizer, ends, dtype)
    from tgpo.rollout import vllm

    probe = request.task.eval_problems()[:4]
    return vllm.load(path, model, tokenizer, ends, dtype, longest, options.vllm, probe)


def load_teacher(request: Request, device: torch.device, vocabulary: int, longest: int) -> Teacher:
    """`teacher.backend=hf` is `tgpo/teachers/hf.py`, imported only when asked for."""
    options, train, path = request.options, request.options.train, request.options.teacher.path
    assert path is not None
    if options.teacher.backend == "hf":
        from tgpo.teachers import hf

        return hf.load(path, train.dtype, device, vocabulary, train.max_logits, train.max_tokens_per_micro_batch)
    if options.teacher.backend == "vllm":
        from tgpo.teachers import vllm

        topk = max(request.objective.teacher_topk, options.metrics.topk)
        return vllm.load(path, train.dtype, vocabulary, longest, min(topk, vocabulary), options.vllm)
    from tgpo.teachers import server

    return server.load(path, options.server)
