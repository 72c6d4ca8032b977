"""Whole sweeps by the real command: what fails does not stop the rest, what is missing is run again, nothing leaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import ROOT, command, records, untimed
from tests.wandb_reader import history

pytestmark = pytest.mark.slow

QUICK = [
    "train.steps=3", "train.checkpoint_every=1", "rollout.prompts_per_batch=4", "rollout.group_size=4", "eval.every=3",
    "task.eval_two_terms=8", "task.eval_more_terms=8", "train.threads=1",
]  # fmt: skip


def started(*arguments: str) -> forked.Process:
    return forked.start("-m", *arguments, new_session=True)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def status(run: Path) -> dict:
    path = run / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def runs_of(sweep: Path) -> list[Path]:
    plan = json.loads((sweep / "sweep.json").read_text())
    return [sweep / cell["folder"] for cell in plan["cells"]]


def files_of(run: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(run.rglob("*")) if p.is_file()}


def test_runs_that_fail_or_are_refused_are_listed_and_the_rest_is_done(tmp_path):
    """A weight that no gradient can hold, and an objective without its teacher, beside runs that are in order."""
    broken = ["train.max_bad_steps=0", "objective.weight=[1e38,0,1e38],[0.5,0,0.5]", "teacher=tiny,none"]
    process = command("-m", *QUICK, *broken, "train.warmup_steps=0", f"sweep_dir={tmp_path}/s")
    assert process.returncode == 2  # the request of some has to be fixed
    told = process.stderr.splitlines()[-6:]
    assert told[0].startswith("1 of 4 runs done")
    assert "0_objective.weight=[1e+38,0,1e+38],teacher=tiny: stopped: 1 steps in a row" in told[1]
    assert "1_objective.weight=[1e+38,0,1e+38],teacher=none: error: objective=tgpo needs a teacher" in told[2]
    assert "3_objective.weight=[0.5,0,0.5],teacher=none: error: objective=tgpo needs a teacher" in told[3]
    assert "fix its options" in told[4]  # and the one that failed may be run again
    assert "rerun=failed" in told[5]
    assert "Traceback" not in process.stderr
    found = [status(run) for run in runs_of(tmp_path / "s")]
    assert [s["status"] for s in found] == ["failed", "failed", "done", "failed"]
    assert "needs a teacher" in found[1]["reason"]
    again = command("-m", *QUICK, f"sweep_dir={tmp_path}/s")
    assert (again.returncode, "already holds a sweep" in again.stderr) == (2, True)


def test_a_sweep_that_is_interrupted_or_killed_goes_on(tmp_path):
    sweep = tmp_path / "s"
    process = started(*QUICK, "train.steps=6", "seed=0,1,2", f"sweep_dir={sweep}")
    wait_for((sweep / "sweep.json").exists)
    first, second, third = runs_of(sweep)
    wait_for(lambda: status(second).get("status") == "running" and status(second)["step"] >= 1)
    process.send_signal(signal.SIGSTOP)  # it waits while another is tried beside it
    beside = command("-m", "rerun=failed", f"sweep_dir={sweep}")
    assert (beside.returncode, "is still running" in beside.stderr) == (2, True)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert status(first)["status"] == "done"
    assert "seed=2: never started" in told
    finished = files_of(first)

    process = started("rerun=failed", f"sweep_dir={sweep}")
    wait_for(lambda: status(third).get("status") == "running" and status(third)["step"] >= 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert status(third)["status"] == "running"  # nobody was left to say otherwise

    other = command("-m", "rerun=failed", "train.lr=1", f"sweep_dir={sweep}")
    assert (other.returncode, "leave out 'train.lr=1'" in other.stderr) == (2, True)
    last = command("-m", "rerun=failed", "seed=0,1,2", f"sweep_dir={sweep}")
    assert last.returncode == 0, last.stderr
    assert "3 of 3 runs done" in last.stdout
    assert "resumed after step" in last.stdout  # of the run that was killed, not begun again
    assert files_of(first) == finished
    for run in (second, third):
        assert [r["step"] for r in records(run, "train")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.long
def test_nothing_of_one_run_reaches_the_next(tmp_path):
    """The same four runs in one process and in the opposite order: each writes the same bytes, whatever was before it.

    The first of either order stands for a run alone.
    """
    shared = [o for o in QUICK if not o.startswith("train.threads")] + ["train.checkpoint_every=3", "logger=wandb"]
    orders = {"there": ["luffy,rkl", "1,2"], "back": ["rkl,luffy", "2,1"]}
    written = {}
    for name, (objectives, threads) in orders.items():
        process = command(
            "-m", *shared, f"objective={objectives}", f"train.threads={threads}", f"sweep_dir={tmp_path}/{name}"
        )
        assert process.returncode == 0, process.stderr
        runs = {run.name.partition("_")[2]: run for run in runs_of(tmp_path / name)}
        written[name] = {key: json.dumps(untimed(run)) for key, run in runs.items()}
        for run in runs.values():
            assert [row["step"] for row in history(run)] == [r["step"] for r in records(run)]
        # what a job finds, not what it sets: the threads of the process, whatever the one before it had
        found = {json.loads((run / "provenance.json").read_text())["hardware"]["threads"] for run in runs.values()}
        assert len(found) == 1
    assert len(written["there"]) == 4
    assert written["there"] == written["back"]


def children(process: int) -> list[int]:
    """Those of this process and of theirs, that run Python."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rpartition(")")[::2]
        except FileNotFoundError:
            continue
        if int(rest.split()[1]) == process and "python" in name:
            found.append(int(path.parent.name))
    return found + [grandchild for child in found for grandchild in children(child)]


def test_local_processes_have_their_own_threads_and_one_that_is_killed_stops_no_other(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = tmp_path / "s"
    one_thread_each = [o for o in QUICK if not o.startswith("train.threads")]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "run.py", "-m", *one_thread_each, "launcher=local", "hydra.launcher.n_jobs=2", "seed=0,1,2",
         f"sweep_dir={sweep}"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((sweep / "sweep.json").exists)
    wait_for(lambda: status(runs_of(sweep)[0]).get("status") == "running")
    workers = [p for p in children(process.pid) if b"popen_loky" in Path(f"/proc/{p}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "3 of 3 runs done" in out
    for run in runs_of(sweep):
        threads = json.loads((run / "provenance.json").read_text())["hardware"]["threads"]
        assert threads == max((os.cpu_count() or 1) // 2, 1)


def test_a_scheduler_of_jobs_runs_the_cells(tmp_path):
    """Submitit's own executor of local processes: what `launcher=slurm` does, without Slurm."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = ["hydra/launcher=submitit_local", "teacher=none,tiny", f"sweep_dir={tmp_path}/s"]
    process = command("-m", *QUICK, *arguments)
    assert process.returncode == 2
    assert "1 of 2 runs done" in process.stderr
    assert "0_teacher=none: error: objective=tgpo needs a teacher" in process.stderr
