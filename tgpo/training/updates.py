"""Splits a rollout batch into optimiser updates: the rows of each, and the weight of each token in its loss."""

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
    first: bool  # whether the policy is still the one that sampled the batch
    observe_topk: int  # number of the student's own best tokens that the metrics need; 0 for none
    trained_tokens: float  # number of tokens in the loss, at least 1: the denominator of the logged means
    own_tokens: float  # number of tokens in the loss that the student sampled
    taught_tokens: float  # number of those that a teacher scored


def split_into_updates(
    collected: CollectedBatch, credit: Credit, reduction: Reduction, groups: int, count: int, observe_topk: int
) -> list[Update]:
    """Splits the groups, in rollout order, into `count` equal updates, each of which reduces over its own tokens.

    Groups are not divided. A group that has no response, because its demonstrations do not exist, makes its update
    smaller; an update without rows is left out.
    """
    batch, updates = collected.batch, list[Update]()
    all_groups = torch.arange(groups, device=batch.group_B.device)
    for chosen in all_groups.chunk(count):
        row_U = torch.isin(batch.group_B, chosen).nonzero()[:, 0]
        if not len(row_U):
            continue
        mask_UT, weights_BT = credit.mask_BT[row_U], torch.zeros_like(credit.mask_BT)
        weights_BT[row_U] = token_weights(mask_UT, reduction, batch.max_response_length)
        own_UT = mask_UT * ~batch.off_policy_B[row_U, None]
        own, taught = float(own_UT.sum()), float((own_UT * batch.teacher_mask_BT[row_U]).sum())
        updates.append(
            Update(
                collected,
                credit,
                row_U,
                weights_BT,
                first=not updates,
                observe_topk=observe_topk if taught else 0,
                trained_tokens=max(float(mask_UT.sum()), 1.0),
                own_tokens=own,
                taught_tokens=taught,
            )
        )
    return updates


def micro_batches(update: Update, max_tokens: int, by_group: bool) -> list[list[Tensor]]:
    """Returns the rows of each of this process's micro-batches, in units whose gradient is measured as one.

    A unit is a prompt group if `by_group`, otherwise the whole update. All processes get the same number of
    micro-batches, some of them empty if necessary, because all processes run a sharded model's passes together.
    """
    batch = update.collected.batch
    lengths_B, units = batch.tokens.length_B, [update.row_U]
    if by_group:
        group_U = batch.group_B[update.row_U]
        units = [update.row_U[group_U == group] for group in group_U.unique()]
    ranks, rank = collectives.size(), collectives.rank()
    plans = [micro_batches_per_rank(lengths_B[row_U], max_tokens, ranks)[rank] for row_U in units]
    return [[row_U[part] for part in plan] for row_U, plan in zip(units, plans, strict=True)]
