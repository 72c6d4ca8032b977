"""Checkpoints are complete or absent, and put everything back."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.parts import small, state_of
from tgpo.runs.resume import newest_intact
from tgpo.training import checkpoint


def save(folder, parts, step=1, **more):
    return checkpoint.save(folder, step, state_of(parts, **more))


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
    assert restore(save(tmp_path, trained, skipped_in_a_row=3), fresh) == (1, 3)
    before, after = (t.trainer.optimizer.state_dict()["state"] for t in (trained, fresh))
    assert before.keys() == after.keys()
    for key in before:
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(before[key][name], after[key][name])


@pytest.fixture
def littered(tmp_path):
    """A run with one checkpoint, step-4, among all that kills, disks and people leave."""
    folder = tmp_path / "checkpoints"
    parts = small()
    save(folder, parts, 4)
    for name in (".step-4.removed", ".step-9.partial", "step-x", "step-", "step-007", "step-²", "step-5"):
        (folder / name / "model").mkdir(parents=True)
    shutil.copytree(folder / "step-4", folder / ".step-6.partial")  # killed just before its rename
    (folder / "step-7").write_text("a file")
    (folder / "step-8").symlink_to("nowhere")
    (folder / "step-10").mkdir()
    return tmp_path, parts


def test_the_newest_is_found_whatever_else_is_there(littered):
    run, _ = littered
    found, skipped = newest_intact(run)
    assert found == run / "checkpoints" / "step-4"
    assert skipped == ["checkpoints/step-10/state.json: missing", "checkpoints/step-5/state.json: missing"]


def test_what_is_there_does_not_keep_the_next_ones_from_being_written(littered):
    run, parts = littered
    folder = run / "checkpoints"
    checkpoint.drop_after(folder, 4)
    for step in (5, 6, 7, 8, 9, 10):
        save(folder, parts, step)
        checkpoint.prune(folder, 2)
        assert newest_intact(run) == (folder / f"step-{step}", [])
    names = {path.name for path in folder.iterdir()}
    assert names == {"step-9", "step-10", "step-x", "step-", "step-007", "step-²"}


def test_nothing_but_leftovers_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoints" / ".step-4.partial" / "model").mkdir(parents=True)
    assert newest_intact(tmp_path) == (None, [])
    assert newest_intact(tmp_path / "nowhere") == (None, [])


def test_pruning_keeps_the_newest_by_number(tmp_path):
    for step in (8, 9, 10, 100):
        (tmp_path / f"step-{step}").mkdir()
    checkpoint.prune(tmp_path, 2)
    assert [p.name for p in checkpoint.complete(tmp_path)] == ["step-10", "step-100"]


def test_pruning_clears_what_kills_left_behind(tmp_path):
    for name in ("step-1", ".step-2.partial", ".step-0.removed"):
        (tmp_path / name / "model").mkdir(parents=True)
    checkpoint.prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_the_optimiser_takes_its_options_from_the_request(tmp_path):
    """A checkpoint carries them too; a run that goes on with changes would otherwise go on without them."""
    trained = small()
    trained.trainer.step(1)
    fresh = small("train.lr=5e-5", "train.betas=[0.8,0.9]", "train.weight_decay=0.1")
    restore(save(tmp_path, trained), fresh)
    (group,) = fresh.trainer.optimizer.param_groups
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (5e-5, (0.8, 0.9), 0.1)


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
