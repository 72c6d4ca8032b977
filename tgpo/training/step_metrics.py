"""The parts of a step's record besides the losses: responses, demonstrations, memory, and sums over processes."""

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
    """Returns rewards, lengths and divergence from the teacher of the responses the student sampled; {} if none."""
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
        taught_BT = own_BT * batch.teacher_mask_BT
        numbers |= divergence_metrics(response_BT, taught_BT, sampler_BT, collected.observed)
        numbers |= metrics_by_teacher(collected, taught_BT)
    return numbers | context_metrics(collected, own_BT)


def metrics_by_teacher(collected: CollectedBatch, taught_BT: Tensor) -> Numbers:
    """Returns, for each of several teachers, its share of the tokens that a teacher scored, the divergence from it, and
    the mean reward of its responses: in the mean over all of them, a teacher with few problems is not seen."""
    asked, batch, observed = collected.asked, collected.batch, collected.observed
    if asked is None or observed is None or len(asked.names) < 2:
        return {}
    numbers: Numbers = {}
    own_B = ~batch.off_policy_B
    for number, name in enumerate(asked.names):
        rows = asked.member_B == number
        mask_BT = taught_BT * rows[:, None]
        numbers[f"teacher/{name}/token_share"] = float(mask_BT.sum() / taught_BT.sum().clamp(min=1))
        found = divergence_metrics(batch.tokens.response_BT, mask_BT, collected.sampler_logprobs_BT, observed)
        for value in ("reverse_kl_k1", "mismatch"):
            if f"divergence/{value}" in found:
                numbers[f"teacher/{name}/{value}"] = found[f"divergence/{value}"]
        if bool((rows & own_B).any()):
            numbers[f"teacher/{name}/reward_mean"] = collected.reward_B[rows & own_B].mean().item()
    return numbers


def context_metrics(collected: CollectedBatch, own_BT: Tensor) -> Numbers:
    """Returns the fraction of the student's responses, and of their tokens, that a teacher scored, and how many
    responses were too long for it with its prompt; {} where the teacher reads what the student reads."""
    asked, batch = collected.asked, collected.batch
    if asked is None or not asked.own_prompts:
        return {}
    return {
        "teacher/responses_scored": asked.taught_B[collected.own_B].float().mean().item(),
        "teacher/tokens_scored": float((own_BT * batch.teacher_mask_BT).sum() / own_BT.sum().clamp(min=1)),
        "teacher/too_long": asked.too_long,
        "teacher/prompt_length": asked.tokens.prompt_mask_BP[asked.taught_B].sum(1).float().mean().nan_to_num().item(),
    }


def demonstration_counts(collected: CollectedBatch, objective: Objective) -> Numbers:
    """Returns how many demonstrations the batch holds, and how many were requested but do not exist."""
    if Need.DEMONSTRATION not in objective.needs:
        return {}
    used = int(collected.batch.off_policy_B.sum())
    return {"demonstrations/used": used, "demonstrations/missing": collected.missing_demonstrations}


def sum_over_processes(values: Mapping[str, Tensor]) -> Numbers:
    """Returns the sum of each value over all processes, which may have different names. One read from the device."""
    own = dict(zip(values, torch.stack([*values.values()]).tolist(), strict=True)) if values else {}
    total: defaultdict[str, float] = defaultdict(float)
    for record in collectives.gather(own):
        for name, value in record.items():
            total[name] += value
    return dict(total)


def is_due(k: int, every: int) -> bool:
    """Whether step k is the first or an `every`-th one after it; always False when `every` is 0."""
    return every > 0 and (k - 1) % every == 0


def means(records: list[Numbers]) -> Numbers:
    """Returns the mean of each metric over the updates that report it."""
    names = {name: None for record in records for name in record}
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {name: sum(reported) / len(reported) for name, reported in values.items()}


def peak_memory(device: torch.device) -> int:
    """Returns the peak memory so far, in bytes: of the device on CUDA, otherwise of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
