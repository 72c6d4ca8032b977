"""The components of a run with several processes. Each process samples and scores its share of a batch; afterwards all
processes hold the complete batch, as a single process would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tgpo.models.policy import Policy
from tgpo.rollout.base import RolloutEngine, Sampling
from tgpo.runtime.collectives import rank, run_on_all_ranks, size, slices_per_rank
from tgpo.teachers.base import Teacher
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Problem, Rollout
from tgpo.types.teacher import TeacherQuery, TeacherSignal


def shard(policy: Policy, dtype: str) -> None:
    """Shards the model by FSDP2, each block and then the rest.

    A process then holds only its part of the weights, the gradients and the optimizer's moments.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (size(),))
    bfloat16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    mixed = bfloat16 if dtype == "bfloat16" else MixedPrecisionPolicy()
    for block in policy.model.get_decoder().layers:
        fully_shard(block, mesh=mesh, mp_policy=mixed)
    fully_shard(policy, mesh=mesh, mp_policy=mixed)


class SharedRollout:
    """Wraps each process's own rollout engine, which generates responses to its share of the problems."""

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine = engine

    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]:
        own = slices_per_rank(len(problems))[rank()]
        part = replace(
            sampling,
            first_problem=sampling.first_problem + own.start,
            of_problems=sampling.of_problems or len(problems),
        )

        def answer() -> list[Rollout]:
            rollouts = self.engine.generate(problems[own], part) if problems[own] else []
            return [replace(rollout, group=rollout.group + own.start) for rollout in rollouts]

        return [rollout for rollouts in run_on_all_ranks(answer) for rollout in rollouts]

    def sync(self, policy_version: int) -> None:
        self.engine.sync(policy_version)


class SharedTeacher:
    """Wraps each process's own teacher, which scores its share of the sequences.

    Hidden states are too large to exchange: for a query that needs them, each process scores all sequences it is given.
    """

    states_width = None
    together = False

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def score(self, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        if query.full:
            return self.teacher.score(tokens, query)
        shape, device = tokens.mask_BT.shape, tokens.mask_BT.device
        rows = torch.arange(shape[0], device=device)[slices_per_rank(shape[0])[rank()]]

        def answer() -> TeacherSignal:
            if not len(rows):
                return TeacherSignal()
            part = tokens.select(rows)
            return self.teacher.score(part, query.select(rows, part.mask_BT.shape[1])).to("cpu")

        grids: dict[str, Any] = {}
        for part, signal in zip(slices_per_rank(shape[0]), run_on_all_ranks(answer), strict=True):
            for name, value in vars(signal).items():
                if value is not None:
                    grid = grids.setdefault(name, value.new_zeros(*shape, *value.shape[2:], device=device))
                    grid[part, : value.shape[1]] = value.to(device)
        return TeacherSignal(**grids)
