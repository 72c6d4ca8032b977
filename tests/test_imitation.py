"""Where there is little or nothing to imitate. How demonstrations are made: tasks/test_demonstrations.py."""

from __future__ import annotations

import pytest
import torch

from tests.compose import composed
from tests.conftest import records
from tests.parts import driven, small, weights
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.training.run import demonstrations


def test_a_step_with_nothing_to_imitate_is_one_without_an_update(tmp_path):
    """Met for real: of a teacher that is wrong at every minus, no problem of one step in eighty was right."""
    parts = small("objective=sft", "train.max_bad_steps=0")
    shown, task, options = parts.trainer.collector.demonstrations, parts.trainer.collector.task, parts.request.options
    first = {p.id for p in task.train_problems(options.seed, 1, options.rollout.prompts_per_batch)}
    kept = {key: ids for key, ids in shown.by_problem.items() if key[0] not in first}
    parts.trainer.collector.demonstrations = Demonstrations(kept)
    before = weights(parts.trainer)
    steps = driven(parts, tmp_path)
    next(steps)
    assert torch.equal(weights(parts.trainer), before)
    next(steps)
    assert not torch.equal(weights(parts.trainer), before)
    steps.close()
    idle, trained = [r for r in records(tmp_path) if r["kind"] == "train"]
    assert (idle["train/updates"], idle["demonstrations/used"], idle["demonstrations/missing"]) == (0, 0, len(first))
    assert trained["train/updates"] == 1
    assert trained["demonstrations/used"] > 0


def test_a_teacher_that_is_never_right_shows_nothing(tmp_path):
    """One that leaves its answers out; told before the first step and not after a run in which nothing was learned."""
    asked = ["objective=sft", "teacher.path=tiny:unboxed", "train.steps=1", "rollout.prompts_per_batch=2"]
    request = check(composed("output_dir=unused", *asked))
    with pytest.raises(RequestError, match="got none of the run's problems right and there is nothing to show"):
        demonstrations(request, tmp_path)
