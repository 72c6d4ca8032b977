"""What a step's record is made of besides the losses: responses, demonstrations, memory, and sums over processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from tgpo.metrics.agreement import divergence_metrics
from tgpo.metrics.lengths import length_metrics, reward_metrics
from tgpo.objectives.base import Objective
from tgpo.runtime import collectives
from tgpo.training.collector import CollectedBatch
from tgpo.types.problem import Need

Numbers = dict[str, float]


def response_metrics(collected: CollectedBatch) -> Numbers:
    """Of the responses the student sampled: rewards, lengths, divergence from the teacher. Empty without any."""
    batch, rows = collected.batch, collected.own_B
    if not len(rows):
        return {}
    own_BT = batch.mask_BT * ~batch.off_policy_B[:, None]
    rollouts, responses = zip(*((collected.rollouts[i], collected.responses[i]) for i in rows.tolist()), strict=True)
    numbers = {
        **reward_metrics(collected.reward_B[rows], batch.group_B[rows]),
        **length_metrics(rollouts, responses, collected.reward_B[rows], batch.eos_ids),
        "throughput/response_tokens_per_second": float(own_BT.sum()) / collected.seconds["rollout"],
    }
    if collected.observed is not None and collected.observed.sampled_logprobs_BT is not None:
        response_BT, sampler_BT = batch.tokens.response_BT, collected.sampler_logprobs_BT
        numbers |= divergence_metrics(response_BT, own_BT, sampler_BT, collected.observed)
    return numbers


def demonstration_counts(collected: CollectedBatch, objective: Objective) -> Numbers:
    """How many demonstrations the batch holds, and how many were asked for that do not exist."""
    if Need.DEMONSTRATION not in objective.needs:
        return {}
    used = int(collected.batch.off_policy_B.sum())
    return {"demonstrations/used": used, "demonstrations/missing": collected.missing_demonstrations}


def sum_over_processes(values: Mapping[str, Tensor]) -> Numbers:
    """The sum of each value over all processes, each of which may have others. Read from the device in one go."""
    own = dict(zip(values, torch.stack([*values.values()]).tolist(), strict=True)) if values else {}
    total: defaultdict[str, float] = defaultdict(float)
    for record in collectives.gather(own):
        for name, value in record.items():
            total[name] += value
    return dict(total)


def is_due(k: int, every: int) -> bool:
    """The first step and every `every`-th after it; never when `every` is 0."""
    return every > 0 and (k - 1) % every == 0


def means(records: list[Numbers]) -> Numbers:
    """The mean of each metric over the updates that carry it."""
    names = {name: None for record in records for name in record}
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def peak_memory(device: torch.device) -> int:
    """The most memory used so far: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
