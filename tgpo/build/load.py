"""Loads what a checked request describes: the device, the student, its rollout engine and the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from tgpo.config.request import Request, TeacherRequest
from tgpo.config.sizes import max_teacher_topk
from tgpo.models.loading import eos_ids, load_model, load_tokenizer, master, pick_device, resolve
from tgpo.options import RunOptions, StudentOptions, TeacherOptions, TrainOptions
from tgpo.rollout.base import RolloutEngine
from tgpo.runtime import collectives
from tgpo.runtime.parallel_map import ParallelMap
from tgpo.teachers.base import Teacher

DEFAULT_THREADS = torch.get_num_threads()  # read before any job of a sweep changes it


def prepare(options: RunOptions) -> torch.device:
    """Seeds torch, makes it deterministic on CPU, and returns the device to work on."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.train.threads or DEFAULT_THREADS)
    device = pick_device(options.train.device)
    # on CUDA this would cost speed without making all attention kernels deterministic
    torch.use_deterministic_algorithms(device.type == "cpu")
    if device.type == "cpu":
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    return device


def parallel_map_for(device: torch.device, train: TrainOptions) -> ParallelMap:
    return ParallelMap(train.passes(device.type == "cpu", collectives.size(), torch.get_num_threads()))


class Student(NamedTuple):
    """The model at `path`, its tokenizer, and the ids of the tokens that end a response."""

    path: str
    model: PreTrainedModel
    tokenizer: Any
    ends: tuple[int, ...]


def load_student(options: RunOptions, device: torch.device, trained: Path | None = None) -> Student:
    """Loads the student, or its weights at the checkpoint `trained`, whose tokenizer already has the chat template."""
    student = options.student
    path = str(trained / "model") if trained else resolve(student.path, student.revision)
    tokenizer = load_tokenizer(path, chat_template=None if trained else student.chat_template, date=student.date)
    model = load_model(path, master(options.train.dtype), device, replaced=student.config)
    return Student(path, model, tokenizer, eos_ids(model, tokenizer, student.end_tokens))


def load_rollout(request: Request, student: Student, longest: int) -> RolloutEngine:
    """Loads the rollout engine. Its module, such as `tgpo/rollout/hf.py`, is imported only if it is used."""
    options, dtype = request.options, request.options.train.dtype
    path, model, tokenizer, ends = student
    if options.rollout.backend == "hf":
        from tgpo.rollout import hf

        return hf.load(path, model, tokenizer, ends, dtype, collectives.size() > 1, options.student.config)
    from tgpo.rollout import vllm

    probe = request.task.eval_problems()[:4]
    return vllm.load(path, model, tokenizer, ends, dtype, longest, options.vllm, probe, options.student.config)


def load_teacher(
    request: Request, teacher: TeacherRequest, device: torch.device, vocabulary: int, longest: int
) -> Teacher:
    """Loads a teacher that has weights of its own, or the student's as they were before training.

    Its module, such as `tgpo/teachers/hf.py`, is imported only if it is used.
    """
    run, options = request.options, teacher.options
    assert options.path is not None
    if options.backend == "server":
        from tgpo.teachers import server

        shared = vocabulary if options.extra_tokens == "drop" else None
        return server.load(options.path, request.servers_of(teacher), shared)
    if options.backend == "hf":
        return load_hf_teacher(options, run.train, device, vocabulary)
    from tgpo.teachers import vllm

    path, topk = resolve(options.path, options.revision), max_teacher_topk(request, vocabulary)
    return vllm.load(path, run.train.dtype, vocabulary, longest, topk, run.vllm, options.config)


def load_hf_teacher(
    model: StudentOptions | TeacherOptions, train: TrainOptions, device: torch.device, vocabulary: int
) -> Teacher:
    """Loads a model of its own in this process: a teacher's, or the student's as it was before training."""
    from tgpo.teachers import hf

    assert model.path is not None
    # a ParallelMap of the teacher's own, because passes that run in the trainer's may query the teacher
    budget = (train.max_logits, train.max_tokens_per_micro_batch, parallel_map_for(device, train))
    path = resolve(model.path, model.revision)
    return hf.load(path, train.dtype, device, vocabulary, *budget, replaced=model.config)
