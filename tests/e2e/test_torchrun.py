"""Two processes under torchrun do what one does, and everything beside the arithmetic is done once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import ROOT, called, records, untimed

pytestmark = pytest.mark.slow
LONG = pytest.mark.long

# float64: in float32 the order of a sum is felt in the seventh digit, and steps of Adam make it the fifth
ARGUMENTS = [
    "train.dtype=float64", "train.steps=4", "train.checkpoint_every=2", "eval.every=4", "train.threads=1",
    "rollout.prompts_per_batch=3", "rollout.group_size=3", "task.eval_two_terms=3", "task.eval_more_terms=4",
    "metrics.rollout_samples_every=2",
]  # fmt: skip
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "run.py"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes in torchrun's environment; `from_cold` is torchrun itself."""
    return forked.ranks(2, *arguments)


def from_cold(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TWO, *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def one_process(folder: Path, *arguments: str) -> Path:
    process = called(*ARGUMENTS, *arguments, f"output_dir={folder}")
    assert process.returncode == 0, process.stderr
    return folder


def two_processes(folder: Path, *arguments: str) -> Path:
    process = torchrun(*ARGUMENTS, *arguments, f"output_dir={folder}")
    assert process.returncode == 0, process.stderr
    return folder


def assert_same_metrics(ours: Path, theirs: Path) -> None:
    for one, other in zip(untimed(ours), untimed(theirs), strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"policy/sampler_logprob_gap"}:  # is rounding and nothing else
            expected = one[name]
            if isinstance(expected, float):
                # the promise is 1e-5; losses and gradients were the same to 1e-15, masked means in float32 to 1e-7
                expected = pytest.approx(expected, rel=1e-6, abs=1e-9)
            assert other[name] == expected, name


@pytest.mark.parametrize(
    "objective",
    [
        ["objective=tgpo", "train.updates_per_batch=3"],
        pytest.param(
            ["objective=rkl", "rollout.old_logprobs=recompute", "train.max_tokens_per_micro_batch=100"], marks=LONG
        ),
        pytest.param(["objective=luffy"], marks=LONG),
    ],
    ids=lambda options: options[0],
)
def test_two_processes_follow_one(objective, tmp_path):
    one, two = one_process(tmp_path / "one", *objective), two_processes(tmp_path / "two", *objective)
    assert len(records(two, "train")) == 4
    assert_same_metrics(one, two)
    assert (one / "rollouts.jsonl").read_text() == (two / "rollouts.jsonl").read_text()
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


@pytest.mark.parametrize(
    "options",
    [
        ["objective=gkd", "objective.on_policy_fraction=0.5", "metrics.gradient_variance_method=sketch"],
        pytest.param(
            ["objective=rkl", "objective.estimator=centered", "train.gradient_checkpointing=true"], marks=LONG
        ),
        ["objective=gkd", "teacher.weights=ema", "teacher.context=sibling", "teacher.decay=0.5"],
        pytest.param(["objective=sdpo", "teacher=self", "teacher.context=feedback", "objective.topk=4"], marks=LONG),
        pytest.param(["objective=exopd", "lora.rank=4", "teacher.weights=initial", "teacher.context=hint"], marks=LONG),
        pytest.param(["objective=tgpo", "objective.target=sample", "lora.rank=4"], marks=LONG),
        pytest.param(
            ["objective=fkl", "+student.config.rope_parameters={rope_type:default,rope_theta:5000.0}"], marks=LONG
        ),
    ],
    ids=lambda options: options[1],
)
def test_so_do_those_that_ask_for_more(options, tmp_path):
    """Whole distributions, the student's best tokens, the teacher's draws; adapters, checkpointing, sketches; a student
    whose configuration is not the one it was saved with; the student as its own teacher, whose weights are sharded, in
    passes that all make together."""
    few = ["train.steps=2"]
    one, two = one_process(tmp_path / "one", *options, *few), two_processes(tmp_path / "two", *options, *few)
    if "metrics.gradient_variance_method=sketch" in options:  # each process draws signs of its own for its part
        for run in (one, two):
            drop(run, ("gradient/variance", "gradient/snr", "gradient/noise_scale"))
    assert_same_metrics(one, two)


def drop(run: Path, names: tuple[str, ...]) -> None:
    kept = [{k: v for k, v in record.items() if k not in names} for record in records(run)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))


@pytest.mark.parametrize(
    "adapters", [pytest.param([], id="weights"), pytest.param(["lora.rank=4"], id="adapters", marks=LONG)]
)
def test_checkpoints_of_two_resume_on_one_and_the_other_way_round(adapters, tmp_path):
    whole = one_process(tmp_path / "whole", *adapters)
    written_by_two = two_processes(tmp_path / "two", *adapters)
    written_by_one = Path(shutil.copytree(whole, tmp_path / "one"))
    for run, resume in ((written_by_two, called), (written_by_one, torchrun)):
        shutil.rmtree(run / "checkpoints" / "step-4")
        process = resume(f"resume={run}")
        assert process.returncode == 0, process.stderr
        assert "resumed after step 2" in process.stdout
        assert_same_metrics(whole, run)


def test_a_mistake_is_told_once(tmp_path):
    process = from_cold("teacher=none", f"output_dir={tmp_path / 'run'}")
    assert process.returncode != 0
    assert process.stderr.count("error: ") == 1
    assert "objective=tgpo needs a teacher" in process.stderr
    assert process.stderr.count("Traceback") == 1  # torchrun's own, about its children
    assert not (tmp_path / "run").exists()


ONE_BAD_TEACHER = """
import runpy
from tgpo.runtime import collectives
from tgpo.training.collector import RolloutCollector
from tgpo.errors import RequestError

right = RolloutCollector.teacher_states

def teacher_states(collector, tokens):
    if collectives.rank() == 1:
        raise RequestError("planted")
    return right(collector, tokens)

RolloutCollector.teacher_states = teacher_states
runpy.run_path("run.py", run_name="__main__")
"""


def test_a_teacher_that_is_wrong_in_one_process_stops_them_all(tmp_path):
    """Each asks it for the states of its own micro-batches, in the middle of passes that they make together."""
    (tmp_path / "bad.py").write_text(ONE_BAD_TEACHER)
    options = ["objective=gkd", *ARGUMENTS, f"output_dir={tmp_path / 'run'}"]
    process = forked.ranks(2, *options, script=tmp_path / "bad.py", timeout=120)
    assert process.returncode != 0
    assert process.stderr.count("error: process 1: planted") == 1
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"


def test_processes_that_were_given_different_options_say_so(tmp_path):
    port = str(forked.free_port())
    shared = {**ENVIRONMENT, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        forked.start(f"train.lr={lr}", f"output_dir={tmp_path / str(rank)}",
                     env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, lr in enumerate(["1e-4", "1e-3"])
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert said[0].strip().splitlines()[-1] == (
        "error: process 1 was given train.lr=0.001 and process 0 train.lr=0.0001; start all with the same command"
    )
    assert "error" not in said[1]
    assert not any((tmp_path / name).exists() for name in ("0", "1"))


def test_they_agree_on_where_a_run_goes_on_and_on_what_changes(tmp_path):
    one = one_process(tmp_path / "one")
    newest = one / "checkpoints" / "step-4" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    two = Path(shutil.copytree(one, tmp_path / "two"))
    refused = torchrun(f"resume={two}", "train.steps=6")
    assert refused.returncode != 0
    assert refused.stderr.count("begun with other options: train.steps: 4 -> 6") == 1
    for run, resume in ((one, called), (two, torchrun)):
        process = resume(f"resume={run}", "train.steps=6", "resume_with_changes=true")
        assert process.returncode == 0, process.stderr
        assert process.stderr.count("step-4/optimizer.safetensors: damaged") == 1
        assert process.stderr.count("changed from step 3 on: train.steps: 4 -> 6") == 1
    assert len(records(two, "train")) == 6
    assert_same_metrics(one, two)


@pytest.mark.parametrize("ctrl_c", [pytest.param(False, id="scheduler"), pytest.param(True, id="terminal", marks=LONG)])
def test_asked_to_stop_they_stop_together(ctrl_c, tmp_path):
    """A scheduler's SIGTERM is torchrun's, which passes it on; Ctrl-C reaches all of them, and is passed on as well."""
    run = tmp_path / "run"
    arguments = [*ARGUMENTS, "train.steps=500", f"output_dir={run}"]
    process = subprocess.Popen(
        [*TWO, *arguments], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(records(run, "train")) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if ctrl_c:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "interrupted"
    assert (run / "checkpoints" / f"step-{status['step']}").is_dir()
