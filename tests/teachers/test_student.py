"""The student as its own teacher: whose weights score, and that nothing of them is held twice."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.parts import small, state_of, weights
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.student import StudentTeacher
from tgpo.training import checkpoint
from tgpo.training.components import build_components
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherQuery

QUERY = TeacherQuery(sampled=True, topk=3, full=True)
QUICK = ["metrics.divergence_every=0", "metrics.gradient_variance_every=0", "train.lr=1e-2"]


def scores_of(model, tokens, parts):
    """Those of a model on its own, by the hf teacher that is held to a naive forward pass."""
    return HFTeacher(model, len(parts.tokenizer), 2**24, 4096).score(tokens, QUERY)


def assert_scores_of(teacher, model, tokens, parts):
    found, expected = teacher.score(tokens, QUERY), scores_of(model, tokens, parts)
    for name in ("sampled_logprobs_BT", "topk_logprobs_BTK", "hidden_BTH"):
        # float32: the same model in batches of other shapes
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
    picked = tokens.mask_BT > 0
    logits, own = (s.head(s.hidden_BTH[picked]) for s in (found, expected))
    torch.testing.assert_close(logits, own, rtol=1e-3, atol=1e-3)


def started(*options):
    """A run's parts, its teacher, a batch, and a copy of the student's model before it has trained."""
    parts = small(*QUICK, *options)
    trainer = parts.trainer
    tokens = trainer.collector.collect(1, trainer.objective, 0).batch.tokens
    return parts, trainer.collector.panel.members[0].teacher, tokens, copy.deepcopy(trainer.policy.model)


@pytest.mark.parametrize("lora", [[], ["lora.rank=2"]], ids=["weights", "adapters"])
def test_initial_stays_as_the_student_began(lora):
    parts, teacher, tokens, before = started("teacher.weights=initial", *lora)
    untrained = weights(parts.trainer)
    parts.trainer.step(1)
    assert not torch.equal(weights(parts.trainer), untrained)
    assert_scores_of(teacher, before, tokens, parts)
    assert all(p.requires_grad for p in parts.trainer.parameters)  # leaving adapters out has not frozen them
    assert isinstance(teacher, StudentTeacher) == bool(lora)  # with adapters there is no second model


@pytest.mark.parametrize("lora", [[], ["lora.rank=2"]], ids=["weights", "adapters"])
def test_live_is_the_student_as_it_stands(lora):
    parts, teacher, tokens, _ = started("teacher.weights=live", *lora)
    for step in (1, 2):
        parts.trainer.step(step)
        assert_scores_of(teacher, parts.trainer.policy.model, tokens, parts)
    assert teacher.policy is parts.trainer.policy


def test_lives_head_is_that_of_the_moment_when_it_was_asked():
    """A batch that makes several updates changes the student's head under the signal."""
    parts, teacher, tokens, before = started("teacher.weights=live")
    signal, picked = teacher.score(tokens, QUERY), tokens.mask_BT > 0
    expected = before.get_output_embeddings()(signal.hidden_BTH[picked])
    parts.trainer.step(1)
    torch.testing.assert_close(signal.head(signal.hidden_BTH[picked]), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(parts.trainer.policy.model.get_output_embeddings()(signal.hidden_BTH[picked]), expected)


@pytest.mark.parametrize("lora", [[], ["lora.rank=2"]], ids=["weights", "adapters"])
def test_the_average_follows_the_trained_weights(lora):
    parts, teacher, _, _ = started("teacher.weights=ema", "teacher.decay=0.75", *lora)
    trainer = parts.trainer
    average = dict(trainer.average.policy.named_parameters())
    expected = weights(trainer).double()
    for step in (1, 2, 3):
        trainer.step(step)
        expected = 0.75 * expected + 0.25 * weights(trainer).double()
    names = [name for name, p in trainer.policy.named_parameters() if p.requires_grad]
    found = torch.cat([average[name].flatten() for name in names]).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)  # three roundings to float32
    assert teacher.policy is trainer.average.policy
    assert not any(p.requires_grad for p in average.values())
    frozen = {name: p for name, p in trainer.policy.named_parameters() if not p.requires_grad}
    assert all(average[name] is p for name, p in frozen.items())  # the base of adapters is there once


@pytest.mark.parametrize("lora", [[], ["lora.rank=2"]], ids=["weights", "adapters"])
def test_a_checkpoint_holds_the_average(tmp_path, lora):
    parts = small(*QUICK, "teacher.weights=ema", "teacher.context=sibling", "objective=rkl", *lora)
    for step in (1, 2):
        parts.trainer.step(step)
    folder = checkpoint.save(tmp_path, 2, state_of(parts, average=parts.trainer.average, base_model="tiny:large-gap"))
    back = build_components(parts.request, folder)
    pairs = zip(parts.trainer.average.policy.parameters(), back.trainer.average.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    timeless = [
        {
            name: x
            for name, x in p.trainer.step(3)[0].items()
            if not name.startswith(("time/", "throughput/", "memory/"))
        }
        for p in (parts, back)
    ]
    assert timeless[0] == timeless[1]


def test_the_reference_is_the_student_before_training_and_the_teacher_if_that_is_the_same():
    options = ["objective=grpo", "objective.reference_kl=0.1"]
    parts = small(*QUICK, *options)
    trainer = parts.trainer
    assert Need.REFERENCE_SAMPLED in trainer.objective.needs
    before = copy.deepcopy(trainer.policy.model)
    trainer.step(1)
    batch = trainer.collector.collect(2, trainer.objective, 0).batch
    expected = scores_of(before, batch.tokens, parts).sampled_logprobs_BT
    torch.testing.assert_close(batch.reference_logprobs_BT, expected, rtol=1e-4, atol=1e-4)
    shared = small(*QUICK, "objective=tgpo", "objective.reference_kl=0.1", "teacher.weights=initial").trainer.collector
    assert shared.reference is shared.panel.members[0].teacher
    asked = counted(shared.reference)
    shared.collect(1, parts.trainer.objective, 1)
    assert len(asked) == 1  # nothing is scored twice


def counted(teacher):
    asked, score = [], teacher.score
    teacher.score = lambda *arguments: asked.append(1) or score(*arguments)
    return asked
