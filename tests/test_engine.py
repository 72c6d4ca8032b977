"""The engine asks for what is declared, hands over nothing else, and is the same for every objective."""

from __future__ import annotations

import pytest
import torch

from tests.compose import group_choices
from tests.parts import small
from tgpo.objectives.base import topk_asked
from tgpo.types import TEACHER_NEEDS, Need

OBJECTIVES = group_choices("objective")


class CountingTeacher:
    def __init__(self, teacher) -> None:
        self.teacher, self.asked = teacher, []

    def score(self, tokens, topk):
        self.asked.append(topk)
        return self.teacher.score(tokens, topk)


@pytest.fixture(params=OBJECTIVES)
def trainer(request):
    return small(f"objective={request.param}").trainer


def test_the_teacher_is_asked_only_for_what_the_objective_declares(trainer):
    engine, objective = trainer.engine, trainer.objective
    engine.teacher = CountingTeacher(engine.teacher)
    engine.collect(1, objective, observe_topk=0)
    topk = topk_asked(objective)
    assert engine.teacher.asked == ([topk] if objective.needs & TEACHER_NEEDS else [])
    engine.collect(1, objective, observe_topk=7)
    assert engine.teacher.asked[-1] == max(7, topk)


def test_the_objective_sees_only_what_it_declared(trainer):
    objective = trainer.objective
    collected = trainer.engine.collect(1, objective, observe_topk=7)
    batch, needs = collected.batch, objective.needs
    assert (batch.reward_B is not None) == (Need.REWARD in needs)
    assert (batch.old_logprobs_BT is not None) == (Need.OLD_LOGPROBS in needs)
    assert (batch.old_at_teacher_topk_BTK is not None) == (Need.OLD_AT_TEACHER_TOPK in needs)
    assert (batch.teacher is not None) == bool(needs & TEACHER_NEEDS)
    if batch.teacher is not None:
        assert (batch.teacher.sampled_logprobs_BT is not None) == (Need.TEACHER_SAMPLED in needs)
        assert (batch.teacher.topk_ids_BTK is not None) == (Need.TEACHER_TOPK in needs)
        if batch.teacher.topk_ids_BTK is not None:
            assert batch.teacher.topk_ids_BTK.shape[-1] == objective.topk
    assert collected.observed is not None
    assert collected.observed.topk_ids_BTK.shape[-1] == 7


def test_all_objectives_meet_the_same_problems_and_draws():
    first = [small(f"objective={name}").trainer for name in OBJECTIVES]
    batches = [t.engine.collect(3, t.objective, 0) for t in first]
    for other in batches[1:]:
        assert other.rollouts == batches[0].rollouts
        assert torch.equal(other.reward_B, batches[0].reward_B)


def test_recomputed_old_logprobs_are_the_samplers_here():
    sampler, recomputed = (small(f"rollout.old_logprobs={how}").trainer for how in ("sampler", "recompute"))
    a, b = (t.engine.collect(1, t.objective, 0).batch.old_logprobs_BT for t in (sampler, recomputed))
    # the same float32 model, once token by token with a cache and once in one pass
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
