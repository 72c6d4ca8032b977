"""Real processes, really interrupted: a resumed run follows the uninterrupted one line by line."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests import forked
from tests.conftest import called, command, untimed

pytestmark = pytest.mark.slow
LONG = pytest.mark.long

ARGUMENTS = [
    "train.steps=10", "train.checkpoint_every=2", "eval.every=4", "rollout.prompts_per_batch=4",
    "task.eval_two_terms=16", "task.eval_more_terms=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    process = called(*ARGUMENTS, f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    return run


def stopped(run: Path, number: int, after: int) -> int:
    """Starts a run, sends it a signal once `after` steps are on disk, and returns its exit code."""
    process = forked.start(*ARGUMENTS, f"output_dir={run}")
    deadline = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count('"kind": "train"') < after:
        assert process.poll() is None, "it ended before the signal"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(60)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=LONG), pytest.param(signal.SIGTERM, marks=LONG)]
)
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
    process = called("resume=/nowhere/at/all")
    assert process.returncode == 2
    assert process.stderr.strip() == "error: resume=/nowhere/at/all: no run there (no config.yaml)"
    assert not Path("/nowhere").exists()


def recorded(run: Path) -> dict:
    """What provenance.json keeps of the last resume."""
    return json.loads((run / "provenance.json").read_text())["resumed"][-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["train.lr=5e-5"],
            "begun with other options: train.lr: 0.0001 -> 5e-05; to go on with the new ones add resume_w",
        ),
        (["train.lr=5e-5", "train.steps=12"], "train.steps: 10 -> 12, train.lr: 0.0001 -> 5e-05; to go on"),
        (["rollout.max_response_length=40"], "eval.max_response_length: 96 -> 40"),  # which follows it
        (["logger=wandb"], "logger.backend: none -> wandb"),
        (["seed=3", "resume_with_changes=true"], "seed: 0 -> 3 cannot change within a run"),
        (["student=tiny-small-gap", "resume_with_changes=true"], "its weights are the checkpoint's"),
        (["lora.rank=4", "resume_with_changes=true"], "lora.rank: 0 -> 4 cannot change within a run"),
        (["objective=rkl", "resume_with_changes=true"], "cannot change within a run: the optimiser's"),
        (["train.steps=4", "resume_with_changes=true"], "train.steps=4 and it stands at step 10"),
        (["train.steps=0", "resume_with_changes=true"], "train.steps=0: input should be"),
        (["train.stepz=4", "resume_with_changes=true"], "did you mean 'train.steps'?"),
        (["teacher=none", "resume_with_changes=true"], "needs a teacher"),
        (["output_dir=elsewhere"], "leave out output_dir"),
        (["resume_with_changes=maybe"], "it is true or false"),
    ],
)
def test_other_options_are_refused_with_the_difference_shown(arguments, words, uninterrupted):
    before = {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()}
    process = called(f"resume={uninterrupted}", *arguments)
    assert process.returncode == 2
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()} == before


def test_resume_with_changes_needs_a_run():
    process = called("resume_with_changes=true")
    assert (process.returncode, "name it with resume=PATH" in process.stderr) == (2, True)


def test_a_run_that_is_done_is_made_longer(uninterrupted, tmp_path):
    """As if it had been so long from the beginning. What is the same as before is no change."""
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    process = command(f"resume={run}", "train.steps=12", "train.lr=1e-4", "resume_with_changes=true")
    assert process.returncode == 0, process.stderr
    assert "changed from step 11 on: train.steps: 10 -> 12" in process.stderr
    long = tmp_path / "long"
    process = called(*ARGUMENTS, "train.steps=12", f"output_dir={long}")
    assert process.returncode == 0, process.stderr
    # step 10 was evaluated as the last
    assert [r for r in untimed(run) if (r["kind"], r["step"]) != ("eval", 10)] == untimed(long)
    weights = "checkpoints/step-12/model/model.safetensors"
    assert (run / weights).read_bytes() == (long / weights).read_bytes()

    assert recorded(run)["changes"] == {"train.steps": [10, 12]}
    assert recorded(run)["from_step"] == 10
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["train"]["steps"] == 12
    assert set(config["overrides"]) == {
        *ARGUMENTS[1:],
        f"output_dir={uninterrupted}",
        "train.steps=12",
        "train.lr=1e-4",
    }
    again = called(f"resume={run}", "train.steps=12")  # what it is now
    assert again.returncode == 0, again.stderr
    assert recorded(run)["changes"] == {}


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(uninterrupted, tmp_path):
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    newest, before = (run / "checkpoints" / f"step-{step}" / "optimizer.safetensors" for step in (10, 8))
    content = bytearray(newest.read_bytes())
    content[5000] ^= 1
    newest.write_bytes(content)
    process = command(f"resume={run}")
    assert process.returncode == 0, process.stderr
    what = "checkpoints/step-10/optimizer.safetensors: damaged (its SHA-256 is not the manifest's)"
    assert process.stderr.strip() == f"{what}; going on from step-8"
    assert "resumed after step 8" in process.stdout
    assert (recorded(run)["from_step"], recorded(run)["skipped"]) == (8, [what])
    assert untimed(run) == untimed(uninterrupted)
    assert newest.read_bytes() == (uninterrupted / newest.relative_to(run)).read_bytes()

    newest.unlink()
    before.write_bytes(before.read_bytes()[:-1])
    process = called(f"resume={run}")
    assert process.returncode == 2
    assert (
        "step-10/optimizer.safetensors: missing; checkpoints/step-8/optimizer.safetensors: damaged (" in process.stderr
    )
    assert "no checkpoint before it is intact, start a new run" in process.stderr
    shutil.rmtree(run / "checkpoints")
    process = called(f"resume={run}")
    assert process.returncode == 2
    assert "no complete checkpoint there, though it came to step 10: they were removed" in process.stderr
