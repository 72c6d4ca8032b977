"""Checkpoints are complete or absent, and put everything back."""

from __future__ import annotations

import pytest
import torch

from tests.parts import small
from tgpo import checkpoint
from tgpo.errors import RequestError


def save(folder, parts):
    trainer = parts.trainer
    return checkpoint.save(folder, 1, trainer.policy, parts.tokenizer, trainer.optimizer, trainer.objective)


def restore(folder, parts):
    return checkpoint.restore(folder, parts.trainer.policy, parts.trainer.optimizer, parts.trainer.objective)


def test_a_controllers_state_comes_back(tmp_path):
    budget = ["objective.weighting=adaptive", "objective.mismatch_budget=0.1", "objective.dual_rate=0.01"]
    trained, fresh = small(*budget), small(*budget)
    trained.trainer.step(1)
    restore(save(tmp_path, trained), fresh)
    state = fresh.trainer.objective.state_dict()
    assert state == trained.trainer.objective.state_dict()
    assert state["weight"] != 0.5  # where it began


def test_optimiser_state_comes_back_exactly(tmp_path):
    trained, fresh = small("train.steps=2"), small("train.steps=2")
    trained.trainer.step(1)
    assert restore(save(tmp_path, trained), fresh) == 1
    before, after = (t.trainer.optimizer.state_dict()["state"] for t in (trained, fresh))
    assert before.keys() == after.keys()
    for key in before:
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(before[key][name], after[key][name])


def test_a_write_cut_short_is_not_a_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / ".step-4.partial" / "model").mkdir(parents=True)
    with pytest.raises(RequestError, match="no complete checkpoint"):
        checkpoint.newest(tmp_path)


def test_the_newest_is_by_number_and_pruning_keeps_it(tmp_path):
    for step in (8, 9, 10, 100):
        (tmp_path / "checkpoints" / f"step-{step}").mkdir(parents=True)
    assert checkpoint.newest(tmp_path).name == "step-100"
    checkpoint.prune(tmp_path / "checkpoints", 2)
    assert [p.name for p in checkpoint.complete(tmp_path / "checkpoints")] == ["step-10", "step-100"]


def test_pruning_clears_what_kills_left_behind(tmp_path):
    for name in ("step-1", ".step-2.partial", ".step-0.removed"):
        (tmp_path / name / "model").mkdir(parents=True)
    checkpoint.prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_no_pickle_is_written(tmp_path):
    parts = small()
    folder = save(tmp_path, parts)
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".jinja"}


def test_an_optimiser_that_has_not_stepped_comes_back_so(tmp_path):
    """A run that stops at its first step: torch would otherwise give the optimiser a step it has not taken."""
    trained, fresh = small(), small()
    restore(save(tmp_path, trained), fresh)
    assert not fresh.trainer.optimizer.state_dict()["state"]
    assert trained.trainer.step(1)[0]["gradient/norm"] == fresh.trainer.step(1)[0]["gradient/norm"]
    for ours, theirs in zip(trained.trainer.parameters, fresh.trainer.parameters, strict=True):
        assert torch.equal(ours, theirs)
