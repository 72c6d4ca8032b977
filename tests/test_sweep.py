"""What a sweep consists of, and what is said of it in the end."""

from __future__ import annotations

import datetime
import json
import os
import random

import numpy
import pytest
import torch

from tgpo.cli.sweep_reports import ending
from tgpo.errors import RequestError
from tgpo.runs.directory import RunDirectory
from tgpo.runs.sweep import Cell, Lock, Outcome, begin_again, name_cells, newest_sweep, read_plan, write_plan
from tgpo.runtime.isolation import isolated
from tgpo.training.step_metrics import peak_memory


def test_folders_are_named_by_what_differs():
    cells = name_cells(
        [["experiment=compare", "train.steps=3", f"objective={o}", f"seed={s}", "launcher=local"]
         for o in ("tgpo", "rkl") for s in (0, 1)]
    )  # fmt: skip
    assert [cell.folder for cell in cells][:3] == [
        "0_objective=tgpo,seed=0", "1_objective=tgpo,seed=1", "2_objective=rkl,seed=0"
    ]  # fmt: skip
    assert cells[3].overrides == ("experiment=compare", "train.steps=3", "objective=rkl", "seed=1")
    assert name_cells([["seed=3"]])[0].folder == "0_seed=3"
    arms = name_cells([["seed=3", "tuned=rkl"], ["seed=3", "tuned=rkl", "objective.estimator=k2_loss"]])
    assert [cell.folder for cell in arms] == ["0", "1_objective.estimator=k2_loss"]


def test_folders_are_one_deep_and_short_enough():
    paths = [f"teacher.path=/models/{'x' * 300}/{i}'$" for i in (0, 1)]
    for number, cell in enumerate(name_cells([[path] for path in paths])):
        assert cell.folder.startswith(f"{number}_teacher.path=_models_x")
        assert len(cell.folder.encode()) <= 255  # what file systems take
        assert not set("/'$") & set(cell.folder)


def test_a_plan_is_written_once_and_read_with_its_own_options(tmp_path):
    cells = name_cells([["train.lr=1", "seed=0"], ["train.lr=1", "seed=1"]])
    write_plan(tmp_path / "s", cells, ["train.lr=1", "seed=0,1", "sweep_dir=s"])
    assert read_plan(tmp_path / "s", ["rerun=failed", "launcher=local", "sweep_dir=s", "seed=0,1"]) == cells
    with pytest.raises(RequestError, match="leave out 'seed=0,1,2'"):
        read_plan(tmp_path / "s", ["seed=0,1,2"])
    with pytest.raises(RequestError, match="already holds a sweep"):
        write_plan(tmp_path / "s", cells, [])
    with pytest.raises(RequestError, match="no sweep in"):
        read_plan(tmp_path, [])


def test_the_newest_sweep(tmp_path):
    with pytest.raises(RequestError, match="no sweep below"):
        newest_sweep(tmp_path)
    for day in ("2026-11-21_10-00-00", "2026-11-22_09-00-00"):
        write_plan(tmp_path / day, name_cells([["seed=0"]]), [])
    assert newest_sweep(tmp_path).name == "2026-11-22_09-00-00"


def test_two_processes_do_not_share_a_sweep(tmp_path):
    lock = Lock(tmp_path)
    with pytest.raises(RequestError, match="still running"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


def test_a_run_goes_on_from_a_checkpoint_and_begins_anew_without(tmp_path):
    files = RunDirectory(tmp_path)
    assert not begin_again(tmp_path)
    files.write_config({"seed": 0})
    files.status("failed", 3, "why")
    (tmp_path / "checkpoints" / "step-2").mkdir(parents=True)
    assert begin_again(tmp_path)
    (tmp_path / "checkpoints" / "step-2").rmdir()
    assert not begin_again(tmp_path)
    assert not list(tmp_path.iterdir())
    files.write_config({"seed": 0})  # killed before it had a status
    assert not begin_again(tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_run_that_is_not_done_is_told_with_its_reason(tmp_path):
    states = {"0": "done", "1": "failed", "2": "running", "3": None, "4": "done", "5": "interrupted"}
    cells = [Cell(folder, ()) for folder in states]
    for folder, state in states.items():
        (tmp_path / folder).mkdir()
        if state:
            RunDirectory(tmp_path / folder).status(state, 7, "because")
    end = ending(tmp_path, cells, {"0": Outcome(), "4": Outcome(1, "OSError: disk full")}, interrupted=False)
    assert end.lines[0].startswith("1 of 6 runs done")
    assert [line.strip() for line in end.lines[1:-1]] == [
        "1: failed at step 7: because",
        "2: killed at step 7, or still running elsewhere",
        "3: never started",
        "4: OSError: disk full",
        "5: interrupted at step 7: because",
    ]
    assert end.code == 1
    refused = {"3": Outcome(2, "error: no")}
    assert ending(tmp_path, cells, refused, interrupted=False).code == 2
    assert ending(tmp_path, cells, refused, interrupted=True).code == 130
    assert ending(tmp_path, cells[:1], {}, interrupted=False).code == 0


def test_what_a_run_changes_in_its_process_is_put_back(monkeypatch):
    monkeypatch.setenv("KEPT", "1")

    def state():
        return (
            torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory, torch.get_rng_state().tolist(), random.getstate(),
            numpy.random.get_state()[1].tolist(), dict(os.environ),
        )  # fmt: skip

    before = state()
    with pytest.raises(KeyError), isolated():
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())
        torch.utils.deterministic.fill_uninitialized_memory ^= True
        torch.rand(1), random.random(), numpy.random.rand()
        monkeypatch.setenv("KEPT", "2")
        monkeypatch.setenv("ADDED", "1")
        raise KeyError
    assert state() == before


def test_peak_memory_is_of_the_run():
    big = torch.ones(100_000_000)
    high = peak_memory(torch.device("cpu"))
    del big
    with isolated():
        assert high - peak_memory(torch.device("cpu")) > 300_000_000  # of the 400 MB that were freed


def test_plans_are_plain_files(tmp_path):
    write_plan(tmp_path, name_cells([["seed=0"]]), ["seed=0"])
    assert json.loads((tmp_path / "sweep.json").read_text()) == {
        "date": datetime.date.today().isoformat(),
        "arguments": ["seed=0"], "cells": [{"folder": "0_seed=0", "overrides": ["seed=0"]}],
    }  # fmt: skip
