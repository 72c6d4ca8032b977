"""Builds the parts of a run from a checked request."""

from __future__ import annotations

from pathlib import Path

from tgpo.build.load import load_rollout, load_student, load_teacher, parallel_map_for, prepare
from tgpo.build.sharded import SharedRollout, SharedTeacher, shard
from tgpo.config.request import Request
from tgpo.config.sizes import longest_scored, longest_sequence
from tgpo.models.policy import Policy
from tgpo.models.weights import add_adapters
from tgpo.runtime import collectives
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.training import checkpoint
from tgpo.training.collector import CollectorOptions, RolloutCollector
from tgpo.training.loop import Components
from tgpo.training.trainer import Trainer


def build_components(
    request: Request, from_checkpoint: Path | None, demonstrations: Demonstrations | None = None
) -> Components:
    """Loads the models and connects the parts."""
    options, train, rollout = request.options, request.options.train, request.options.rollout
    device = prepare(options)
    # with adapters, the base model is loaded: `checkpoint.restore` adds the adapters to the weights they belong to
    student = load_student(options, device, from_checkpoint if not options.lora.rank else None)
    model, tokenizer = student.model, student.tokenizer
    if options.lora.rank:
        add_adapters(model, options.lora)
    policy = Policy(model, len(tokenizer), train.max_logits, train.dtype, train.gradient_checkpointing)
    sampler = load_rollout(request, student, longest_sequence(request, tokenizer))
    longest = longest_scored(request, tokenizer)
    teacher = load_teacher(request, device, len(tokenizer), longest) if options.teacher.path is not None else None
    if collectives.size() > 1:
        shard(policy, train.dtype)
        sampler, teacher = SharedRollout(sampler), SharedTeacher(teacher) if teacher else None
    collector_options = CollectorOptions(
        seed=options.seed,
        prompts_per_batch=rollout.prompts_per_batch,
        group_size=rollout.group_size,
        temperature=rollout.temperature,
        max_response_length=rollout.max_response_length,
        recompute_old_logprobs=rollout.old_logprobs == "recompute",
        importance_cap=rollout.importance_cap,
        updates_per_batch=train.updates_per_batch,
        max_tokens=train.max_tokens_per_micro_batch,
        max_hidden=train.max_logits,
        eos_ids=student.ends,
    )
    collector = RolloutCollector(request.task, sampler, policy, teacher, demonstrations, tokenizer, collector_options)
    parallel = parallel_map_for(device, train)
    trainer = Trainer(policy, request.objective, collector, train, options.metrics, options.seed, parallel)
    done, skipped_in_a_row = 0, 0
    if from_checkpoint:
        done, skipped_in_a_row = checkpoint.restore(from_checkpoint, policy, trainer.optimizer, trainer.objective)
    sampler.sync(done)
    return Components(request, tokenizer, sampler, trainer, done, skipped_in_a_row)
