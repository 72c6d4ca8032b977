"""A rollout batch as optimiser updates: which rows each trains on, and what each of their tokens weighs in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tgpo.functional.batching import micro_batches_per_rank
from tgpo.functional.reduce import token_weights
from tgpo.runtime import collectives
from tgpo.training.collector import CollectedBatch
from tgpo.types.problem import Reduction
from tgpo.types.scores import Credit


@dataclass(frozen=True)
class Update:
    """One optimiser update: its rows of the rollout batch, and the weight of each token in the reduced loss."""

    collected: CollectedBatch
    credit: Credit
    row_U: Tensor
    weights_BT: Tensor  # 0 outside the rows
    first: bool  # whether the policy is still the one that sampled
    observe_topk: int  # entries of the student's own top-k that the metrics want; 0 for none
    trained_tokens: float  # at least 1: what the logged means are divided by
    own_tokens: float  # of these, the tokens that the student sampled


def split_into_updates(
    collected: CollectedBatch, credit: Credit, reduction: Reduction, groups: int, count: int, observe_topk: int
) -> list[Update]:
    """Whole groups, in the order they were rolled out, into `count` equal updates; each reduces over its own tokens.

    A group without a response, for want of a demonstration, leaves its update smaller; an empty update is left out.
    """
    batch, updates = collected.batch, list[Update]()
    all_groups = torch.arange(groups, device=batch.group_B.device)
    for chosen in all_groups.chunk(count):
        row_U = torch.isin(batch.group_B, chosen).nonzero()[:, 0]
        if not len(row_U):
            continue
        mask_UT, weights_BT = credit.mask_BT[row_U], torch.zeros_like(credit.mask_BT)
        weights_BT[row_U] = token_weights(mask_UT, reduction, batch.max_response_length)
        own = float((mask_UT * ~batch.off_policy_B[row_U, None]).sum())
        updates.append(
            Update(
                collected,
                credit,
                row_U,
                weights_BT,
                first=not updates,
                observe_topk=observe_topk if own else 0,
                trained_tokens=max(float(mask_UT.sum()), 1.0),
                own_tokens=own,
            )
        )
    return updates


def micro_batches(update: Update, max_tokens: int, by_group: bool) -> list[list[Tensor]]:
    """The rows of each of this process's micro-batches, in units whose gradient is measured as one.

    A unit is a prompt group where `by_group`, else the whole update. All processes have equally many micro-batches, an
    empty one if need be, because the passes of a sharded model are made by all processes together.
    """
    batch = update.collected.batch
    lengths_B, units = batch.tokens.length_B, [update.row_U]
    if by_group:
        group_U = batch.group_B[update.row_U]
        units = [update.row_U[group_U == group] for group in group_U.unique()]
    ranks, rank = collectives.size(), collectives.rank()
    plans = [micro_batches_per_rank(lengths_B[row_U], max_tokens, ranks)[rank] for row_U in units]
    return [[row_U[part] for part in plan] for row_U, plan in zip(units, plans, strict=True)]
