"""Real processes, really interrupted: a resumed run follows the uninterrupted one line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, command, untimed

pytestmark = pytest.mark.slow

ARGUMENTS = ["train.steps=10", "train.checkpoint_every=2", "eval.every=4", "rollout.prompts_per_batch=4"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    process = command(*ARGUMENTS, f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    return run


def stopped(run: Path, number: int, after: int) -> int:
    """Starts a run, sends it a signal once `after` steps are on disk, and returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "run.py", *ARGUMENTS, f"output_dir={run}"], cwd=ROOT, env=dict(os.environ),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count('"kind": "train"') < after:
        assert process.poll() is None, "it ended before the signal"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_resumes_where_it_was(number, uninterrupted, tmp_path):
    run = tmp_path / "run"
    code = stopped(run, number, after=3)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    process = command(f"resume={run}")
    assert process.returncode == 0, process.stderr
    assert untimed(run) == untimed(uninterrupted)
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    weights = "checkpoints/step-10/model/model.safetensors"
    assert (run / weights).read_bytes() == (uninterrupted / weights).read_bytes()


def test_nothing_to_resume():
    process = command("resume=/nowhere/at/all")
    assert process.returncode == 2
    assert process.stderr.strip() == "error: resume=/nowhere/at/all: no run there (no config.yaml)"
    assert not Path("/nowhere").exists()


def test_a_resumed_run_keeps_its_own_configuration(uninterrupted):
    process = command(f"resume={uninterrupted}", "train.lr=1")
    assert process.returncode == 2
    assert "give resume=PATH and nothing else" in process.stderr
