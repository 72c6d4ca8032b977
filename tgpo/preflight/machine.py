"""Checks of the machine: its device, its memory and disk against the run's estimated needs, and W&B."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tgpo.config.sizes import sequence_budgets
from tgpo.errors import RequestError
from tgpo.metrics.wandb import has_key, server, server_problem
from tgpo.preflight.look import STUDENT, Inspection, Note, Role
from tgpo.preflight.memory import (
    Plan,
    Shape,
    TeacherPlan,
    arithmetic,
    checkpoint_bytes,
    passing,
    permanent,
    shape_of,
)
from tgpo.runs.directory import complete
from tgpo.runtime.torchrun import process_count, process_count_here
from tgpo.types.problem import Need

GIB = 2**30


def check_device(look: Inspection) -> str:
    import torch

    device = look.options.train.device
    try:
        wanted = torch.device("cpu" if device == "auto" else device)
    except RuntimeError:
        raise RequestError(f"train.device={device}: not a device; use auto, cpu, cuda or cuda:N") from None
    if wanted.type not in ("cpu", "cuda"):
        raise RequestError(f"train.device={device}: only cpu and cuda are supported")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise RequestError(
            f"train.device={device}: this machine has {torch.cuda.device_count()} CUDA devices; use train.device=cpu"
        )
    on_cuda = wanted.type == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.cuda.get_device_name(wanted.index or 0) if on_cuda else "CPU"


def device_memory(look: Inspection) -> tuple[int, bool] | None:
    """Returns the device's memory in bytes, and whether it is a GPU; None for a GPU that is not in this machine.

    On CPU the memory is one process's share of the machine's.
    """
    import torch

    name = look.options.train.device
    if name.startswith("cuda") or (name == "auto" and torch.cuda.is_available()):
        if not torch.cuda.is_available():
            return None
        return torch.cuda.get_device_properties(torch.device(name if ":" in name else "cuda")).total_memory, True
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // process_count_here(), False


def shape(look: Inspection, role: Role) -> Shape:
    return shape_of(look.configs[role], look.parameters.get(role))


def teacher_plans(look: Inspection) -> tuple[TeacherPlan, ...]:
    """Returns the teachers that are on this machine, each model once."""
    plans = {}
    for role, teacher in look.teachers.items():
        options = teacher.options
        if role in look.configs:
            name = "teacher" if len(look.teachers) == 1 else f"teacher {teacher.name}"
            average = ", an average" if options.weights == "ema" else ""
            plan = TeacherPlan(shape(look, role), options.backend, options.weights, name + average)
            plans.setdefault(options.model_key, plan)
    return tuple(plans.values())


def plan_of(look: Inspection) -> Plan:
    options = look.options
    train, rollout, metrics = options.train, options.rollout, options.metrics
    device = device_memory(look)
    on_cpu = device is not None and not device[1]
    rollouts = sequence_budgets(look.request, look.tokenizer)[0]
    return Plan(
        rows=rollout.prompts_per_batch * rollout.group_size,
        prompt=rollouts.prompt,
        response=rollouts.cap,
        micro_batch=train.max_tokens_per_micro_batch,
        max_logits=train.max_logits,
        dtype=train.dtype,
        checkpointing=train.gradient_checkpointing,
        second_gradient=metrics.gradient_variance_every > 0 and metrics.gradient_variance_method == "exact",
        adapters=options.lora.rank,
        processes=process_count(),
        rollout=rollout.backend,
        scores_old=rollout.old_logprobs == "recompute",
        teachers=teacher_plans(look),
        reference=Need.REFERENCE_SAMPLED in look.request.objective.needs,
        passes=train.passes(on_cpu, process_count(), os.cpu_count() or 1),
    )


def engines(look: Inspection, total: float, on_gpu: bool) -> dict[str, float]:
    """Returns the bytes that each vLLM engine holds: its fraction of a GPU, or on CPU its weights and cache.

    Raises RequestError if a fraction is too small for the weights.
    """
    from tgpo.preflight.memory import BYTES

    vllm, width, held = look.options.vllm, BYTES[look.options.train.dtype], {}
    used: list[tuple[str, str, float, Shape]] = []
    if look.options.rollout.backend == "vllm":
        used.append(("vllm.rollout_memory", "", vllm.rollout_memory, shape(look, STUDENT)))
    teachers = [teacher for teacher in teacher_plans(look) if teacher.backend == "vllm"]
    for teacher in teachers:
        of = f" of {teacher.name}" if len(teachers) > 1 else ""
        used.append(("vllm.teacher_memory", of, vllm.teacher_memory, teacher.shape))
    for key, of, fraction, engine in used:
        weights = width * engine.parameters / vllm.tensor_parallel_size
        held[key + of] = fraction * total if on_gpu else weights + vllm.cpu_cache_gib * GIB
        if on_gpu and held[key + of] <= weights:
            raise RequestError(
                f"{key}={fraction}: that is {gib(held[key + of])} of {gib(total)} GiB, and the weights{of} alone take "
                f"{gib(weights)}; raise it, or vllm.tensor_parallel_size"
            )
    if on_gpu and teachers:
        # logits of a chunk and their log-softmax, in float32, which vLLM does not count in its fraction
        widest = max(teacher.shape.vocabulary for teacher in teachers)
        held["the teacher's logits in vLLM"] = 2 * 4 * vllm.teacher_batched_tokens * widest
    return held


def check_memory(look: Inspection) -> str:
    """Raises RequestError if the memory that is held during the whole run exceeds the device's.

    Temporary memory is only estimated: if the total exceeds the device's because of it, the result is a Note.
    """
    student, plan, device = shape(look, STUDENT), plan_of(look), device_memory(look)
    held, stages = permanent(student, plan), passing(student, plan)
    stage = max(stages, key=lambda name: stages[name])
    listed = {**held, f"while in the {stage}": stages[stage]}
    if device is None:
        return Note(f"{parts(listed)}: {gib(sum(listed.values()))} GiB, and vLLM's fractions of the GPU beside it")
    total, on_gpu = device
    held |= engines(look, total, on_gpu)
    if sum(held.values()) > total:
        raise RequestError(
            f"the run holds {gib(sum(held.values()))} GiB of the device's {gib(total)} throughout ({parts(held)}); use "
            "more processes (torchrun), a smaller model, or smaller vllm.*_memory"
        )
    needed = sum(held.values()) + stages[stage]
    summary = f"{parts({**held, **listed})}: {gib(needed)} of {gib(total)} GiB, estimated"
    if needed <= total:
        return summary
    fixes = "train.max_tokens_per_micro_batch or train.max_logits, or set train.gradient_checkpointing=true"
    return Note(f"{summary}: it may not fit; lower {fixes}")


def parts(sizes: dict[str, float]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in sizes.items())


def gib(size: float) -> str:
    return f"{size / GIB:.1f}" if size >= GIB / 10 else f"{size / GIB:.3f}"


def check_arithmetic(look: Inspection) -> str:
    work = arithmetic(shape(look, STUDENT), plan_of(look))
    listed = ", ".join(f"{name} {flop / 1e12:,.3g}" for name, flop in work.items())
    return f"at most {sum(work.values()) / 1e12:,.4g} TFLOP: {listed}"


def check_disk(look: Inspection) -> str:
    """Checks that the disk has room for every checkpoint that is kept and the one that is written before the oldest
    is deleted, less those that the run already has."""
    folder = Path(look.options.output_dir).absolute()
    held = len(complete(folder / "checkpoints"))
    while not folder.exists():
        folder = folder.parent
    student = shape(look, STUDENT)
    keep = max(0, min(look.options.train.keep_checkpoints + 1, checkpoints_written(look)) - held)
    each, free = checkpoint_bytes(student, look.options.lora.rank), shutil.disk_usage(folder).free
    needed, summary = keep * each, f"{keep} checkpoints of {gib(each)} GiB; {gib(free)} GiB free"
    if needed > free:
        raise RequestError(f"{summary} at output_dir={folder}; make room, write elsewhere, or keep fewer checkpoints")
    return summary


def checkpoints_written(look: Inspection) -> int:
    train = look.options.train
    return -(-train.steps // train.checkpoint_every)


def check_wandb(look: Inspection) -> str | None:
    """Returns whether a run would log online. Never raises: logging offline loses nothing (later: wandb sync)."""
    if look.options.logger.backend != "wandb":
        return None
    if mode := os.environ.get("WANDB_MODE"):
        return f"WANDB_MODE={mode}"
    if not has_key():
        return Note("no key (WANDB_API_KEY, or wandb login): logs offline; later: wandb sync")
    if problem := server_problem():
        return Note(f"a key, but {problem}: logs offline; later: wandb sync")
    return f"a key, and {server().hostname} answers"
