"""Builds the parts of a run from a checked request."""

from __future__ import annotations

from pathlib import Path

from tgpo.build.load import load_rollout, load_student, parallel_map_for, prepare
from tgpo.build.sharded import SharedRollout
from tgpo.build.teachers import load_scorers
from tgpo.config.request import Request
from tgpo.config.sizes import longest_sequence
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
    if collectives.size() > 1:
        sampler = SharedRollout(sampler)
    panel, reference, average = load_scorers(request, policy, device, tokenizer)
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
    collector = RolloutCollector(
        request.task, sampler, policy, panel, reference, demonstrations, tokenizer, collector_options
    )
    parallel = parallel_map_for(device, train)
    trainer = Trainer(policy, request.objective, collector, train, options.metrics, options.seed, parallel, average)
    done, skipped_in_a_row = 0, 0
    if from_checkpoint:
        done, skipped_in_a_row = checkpoint.restore(
            from_checkpoint, policy, trainer.optimizer, trainer.objective, average
        )
    sampler.sync(done)
    return Components(request, tokenizer, sampler, trainer, done, skipped_in_a_row)
