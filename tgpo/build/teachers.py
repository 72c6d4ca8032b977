"""Loads what scores a run's rollouts besides the student: its teachers, whatever their weights, and the reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from tgpo.build.load import load_hf_teacher, load_teacher, parallel_map_for
from tgpo.build.sharded import SharedTeacher, shard
from tgpo.config.request import Request, TeacherRequest
from tgpo.config.sizes import scored_budget
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
    options, decays = request.options, [t.options.decay for t in request.teachers if t.options.weights == "ema"]
    average = MovingAverage(copy_of(policy), decays[0]) if decays else None
    if collectives.size() > 1:
        shard(policy, options.train.dtype)
        if average is not None:
            shard(average.policy, options.train.dtype)
    members: list[Member] = []
    loaded: dict[str, Teacher] = {}  # teachers that differ in what they read alone are one model
    reference = None
    for teacher in request.teachers:
        which = teacher.options.model_key
        if which not in loaded:
            loaded[which] = scorer_of(request, teacher, policy, average, device, tokenizer)
        if teacher.options.weights == "initial" and teacher.options.backend == "hf":
            reference = loaded[which]
        room = room_of(request, teacher, tokenizer)
        prompts = load_prompts(options.student, teacher.options, teacher.context, tokenizer, room)
        members.append(Member(teacher.name, loaded[which], prompts))
    pad_id = int(tokenizer.pad_token_id or 0)
    panel = Panel(members, len(tokenizer), pad_id, options.teacher.route) if members else None
    if Need.REFERENCE_SAMPLED not in request.objective.needs:
        reference = None
    elif reference is None:
        reference = before_training(request, policy, device, tokenizer)
    return Scorers(panel, reference, average)


def scorer_of(
    request: Request,
    teacher: TeacherRequest,
    policy: Policy,
    average: MovingAverage | None,
    device: torch.device,
    tokenizer: Any,
) -> Teacher:
    """Returns the teacher with the weights that `teacher.weights` says."""
    train, weights = request.options.train, teacher.options.weights
    if weights in ("live", "ema"):
        own = average.policy if average is not None and weights == "ema" else policy
        return StudentTeacher(own, train.max_tokens_per_micro_batch, parallel=parallel_map_for(device, train))
    if weights == "initial" and teacher.options.backend == "hf":
        return before_training(request, policy, device, tokenizer)
    longest = longest_of_the_same(request, teacher, tokenizer)
    return shared(load_teacher(request, teacher, device, len(tokenizer), longest))


def longest_of_the_same(request: Request, teacher: TeacherRequest, tokenizer: Any) -> int:
    """Returns the tokens of the longest prompt and response that a teacher reads, or another that is the same model."""
    same = [other for other in request.teachers if other.options.model_key == teacher.options.model_key]
    return max(scored_budget(request, other, tokenizer).longest for other in same)


def before_training(request: Request, policy: Policy, device: torch.device, tokenizer: Any) -> Teacher:
    """Returns the student as it was before training: with adapters, the base that they are added to, else a copy."""
    options, train = request.options, request.options.train
    if options.lora.rank:
        # one pass at a time, because leaving the adapters out of one pass leaves them out of all
        return StudentTeacher(policy, train.max_tokens_per_micro_batch, adapters=False)
    return shared(load_hf_teacher(options.student, train, device, len(tokenizer)))


def shared(teacher: Teacher) -> Teacher:
    return SharedTeacher(teacher) if collectives.size() > 1 else teacher


def room_of(request: Request, teacher: TeacherRequest, tokenizer: Any) -> int | None:
    """Returns how many tokens a teacher can read: those of its engine, else the positions of the model."""
    options = teacher.options
    if options.backend != "hf" or options.path is None:
        return longest_of_the_same(request, teacher, tokenizer)
    return getattr(load_config(options.path, options.revision, options.config), "max_position_embeddings", None)
