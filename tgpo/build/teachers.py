"""Loads what scores a run's rollouts besides the student: its teacher, whatever its weights, and the reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from tgpo.build.load import load_hf_teacher, load_teacher, parallel_map_for
from tgpo.build.sharded import SharedTeacher, shard
from tgpo.config.request import Request
from tgpo.config.sizes import longest_scored
from tgpo.contexts.prompts import load_prompts
from tgpo.models.loading import load_config
from tgpo.models.policy import Policy
from tgpo.runtime import collectives
from tgpo.teachers.base import Teacher
from tgpo.teachers.panel import Member, Panel
from tgpo.teachers.student import MovingAverage, StudentTeacher, copy_of
from tgpo.types.problem import Need


class Scorers(NamedTuple):
    """The teachers, the student as it was before training, and the student's moving average; None where not needed."""

    panel: Panel | None
    reference: Teacher | None
    average: MovingAverage | None


def load_scorers(request: Request, policy: Policy, device: torch.device, tokenizer: Any) -> Scorers:
    """Loads them, and with several processes shards the student and its average."""
    options = request.options
    average = MovingAverage(copy_of(policy), options.teacher.decay) if options.teacher.weights == "ema" else None
    if collectives.size() > 1:
        shard(policy, options.train.dtype)
        if average is not None:
            shard(average.policy, options.train.dtype)
    teacher = None
    if options.teacher.path is not None:
        teacher = scorer_of(request, policy, average, device, tokenizer)
    panel = None
    if teacher is not None:
        prompts = load_prompts(options, request.context, tokenizer, room_of(request, tokenizer))
        panel = Panel(
            [Member(options.teacher.name, teacher, prompts)], len(tokenizer), int(tokenizer.pad_token_id or 0)
        )
    reference = None
    if Need.REFERENCE_SAMPLED in request.objective.needs:
        same = options.teacher.weights == "initial" and options.teacher.backend == "hf"
        reference = teacher if same and teacher is not None else before_training(request, policy, device, tokenizer)
    return Scorers(panel, reference, average)


def scorer_of(
    request: Request, policy: Policy, average: MovingAverage | None, device: torch.device, tokenizer: Any
) -> Teacher:
    """Returns the teacher that `teacher.weights` describes."""
    options, train = request.options, request.options.train
    if options.teacher.weights in ("live", "ema"):
        own = policy if average is None else average.policy
        return StudentTeacher(own, train.max_tokens_per_micro_batch, parallel=parallel_map_for(device, train))
    if options.teacher.weights == "initial" and options.teacher.backend == "hf":
        return before_training(request, policy, device, tokenizer)
    return shared(load_teacher(request, device, len(tokenizer), longest_scored(request, tokenizer)))


def before_training(request: Request, policy: Policy, device: torch.device, tokenizer: Any) -> Teacher:
    """Returns the student as it was before training: with adapters, the base that they are added to, else a copy."""
    options, train = request.options, request.options.train
    if options.lora.rank:
        # one pass at a time, because leaving the adapters out of one pass leaves them out of all
        return StudentTeacher(policy, train.max_tokens_per_micro_batch, adapters=False)
    return shared(load_hf_teacher(options.student, train, device, len(tokenizer)))


def shared(teacher: Teacher) -> Teacher:
    return SharedTeacher(teacher) if collectives.size() > 1 else teacher


def room_of(request: Request, tokenizer: Any) -> int | None:
    """Returns how many tokens the teacher can read: those of its engine, else the positions of the model."""
    teacher = request.options.teacher
    if teacher.backend != "hf" or teacher.path is None:
        return longest_scored(request, tokenizer)
    return getattr(load_config(teacher.path, teacher.revision, teacher.config), "max_position_embeddings", None)
