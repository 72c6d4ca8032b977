"""The engine asks for what is declared, hands over nothing else, and is the same for every objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.compose import group_choices
from tests.laws.variants import VARIANTS
from tests.parts import small
from tgpo.errors import RequestError
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.types.problem import TEACHER_NEEDS, Need
from tgpo.types.teacher import TeacherSignal


class CountingTeacher:
    together = False

    def __init__(self, teacher) -> None:
        self.teacher, self.states_width, self.asked = teacher, teacher.states_width, []

    def score(self, tokens, query):
        self.asked.append(query)
        return self.teacher.score(tokens, query)


@pytest.fixture(params=VARIANTS)
def trainer(request):
    name, *options = request.param.split()
    return small(f"objective={name}", *(f"objective.{option}" for option in options)).trainer


@pytest.mark.slow
def test_the_teacher_is_asked_and_the_objective_sees_only_what_it_declared(trainer):
    engine, objective, needs = trainer.collector, trainer.objective, trainer.objective.needs
    member = engine.panel.members[0]
    counting = member.teacher = CountingTeacher(member.teacher)
    engine.collect(1, objective, observe_topk=0)
    assert len(counting.asked) == bool(needs & TEACHER_NEEDS)
    for query in counting.asked:
        assert query.topk == objective.teacher_topk
        assert query.full == (Need.TEACHER_FULL in needs)
        assert (query.uniform_BT is not None) == (Need.TEACHER_SAMPLE in needs)
        assert (query.at_ids_BTK is not None) == (Need.TEACHER_AT_STUDENT_TOPK in needs)
    asked = len(counting.asked)
    collected = engine.collect(1, objective, observe_topk=7)
    if collected.batch.off_policy_B.all():  # nothing of the student's to observe
        assert len(counting.asked) == 2 * asked
    else:
        assert counting.asked[-1].topk == max(7, objective.teacher_topk)
        assert collected.observed is not None
        assert collected.observed.topk_ids_BTK.shape[-1] >= 7
    check_seen(collected.batch, objective)


def check_seen(batch, objective):
    needs, teacher = objective.needs, batch.teacher or TeacherSignal()
    assert (batch.reward_B is not None) == (Need.REWARD in needs)
    assert (batch.old_logprobs_BT is not None) == (Need.OLD_LOGPROBS in needs)
    assert (batch.old_topk_logprobs_BTK is not None) == (Need.TEACHER_AT_STUDENT_TOPK in needs)
    assert (batch.teacher is not None) == bool(needs & TEACHER_NEEDS)
    assert bool(batch.off_policy_B.any()) == (Need.DEMONSTRATION in needs)
    assert (teacher.sampled_logprobs_BT is not None) == (Need.TEACHER_SAMPLED in needs)
    assert (teacher.topk_logprobs_BTK is not None) == (Need.TEACHER_TOPK in needs)
    assert (teacher.at_student_topk_BTK is not None) == (Need.TEACHER_AT_STUDENT_TOPK in needs)
    assert (teacher.student_topk_ids_BTK is not None) == (Need.STUDENT_AT_OLD_TOPK in needs)
    assert (batch.reference_logprobs_BT is not None) == (Need.REFERENCE_SAMPLED in needs)
    assert (teacher.sample_ids_BT is not None) == (Need.TEACHER_SAMPLE in needs)
    assert (teacher.hidden_BTH is not None) == (Need.TEACHER_FULL in needs)
    if teacher.topk_ids_BTK is not None:
        assert teacher.topk_ids_BTK.shape[-1] == objective.teacher_topk


def test_all_objectives_meet_the_same_problems_and_draws():
    """Rollouts of the same place in a group are the same, token for token; some have demonstrations in their stead."""
    trainers = [small(f"objective={name}").trainer for name in group_choices("objective")]
    collected = [t.collector.collect(3, t.objective, 0) for t in trainers]
    whole = max(collected, key=lambda c: len(c.own_B))
    assert len(whole.own_B) == 16
    for other in collected:
        for group in range(4):
            ours, theirs = (
                [(r.problem, r.response_ids, c.reward_B[i]) for i, r in enumerate(c.rollouts)
                 if r.group == group and r.source == "student"]
                for c in (other, whole)
            )  # fmt: skip
            assert ours == theirs[: len(ours)]


def test_a_group_holds_its_rollouts_and_its_demonstrations():
    trainer = small("objective=luffy").trainer
    batch = trainer.collector.collect(1, trainer.objective, 0).batch
    assert batch.off_policy_B.view(4, 4).tolist() == [[False, False, False, True]] * 4
    assert (batch.old_logprobs_BT[batch.off_policy_B] == 0).all()
    assert (batch.reward_B[batch.off_policy_B] == 1).all()  # verified like any other response


def test_demonstrations_that_do_not_exist_are_counted_and_none_at_all_is_an_error():
    trainer = small("objective=luffy").trainer
    known = trainer.collector.demonstrations.by_problem
    trainer.collector.demonstrations = Demonstrations(dict(list(known.items())[:2]))
    collected = trainer.collector.collect(1, trainer.objective, 0)
    assert (collected.missing_demonstrations, int(collected.batch.off_policy_B.sum())) == (2, 2)
    learner = small("objective=sft").trainer
    learner.collector.demonstrations = Demonstrations({})
    with pytest.raises(RequestError, match="none of its 4 problems has a demonstration"):
        learner.collector.collect(1, learner.objective, 0)


def test_recomputed_old_logprobs_are_the_samplers_here():
    sampler, recomputed = (small(f"rollout.old_logprobs={how}").trainer for how in ("sampler", "recompute"))
    a, b = (t.collector.collect(1, t.objective, 0).batch.old_logprobs_BT for t in (sampler, recomputed))
    # the same float32 model, once token by token with a cache and once in one pass
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_policy_before_is_scored_when_several_updates_follow():
    """With one update a batch the trainer has the same numbers for nothing: the loss and gradient are the same."""
    one, several = (small("objective=tgpo_adv").trainer for _ in range(2))
    several.collector.options = replace(several.collector.options, updates_per_batch=2)
    old = [t.collector.collect(1, t.objective, 0).batch.old_at_teacher_topk_BTK for t in (one, several)]
    assert old[0] is None
    assert old[1].shape[-1] == 1
    norms = [t.step(1)[0]["gradient/norm"] for t in (one, several)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)  # float32, another order of summation
