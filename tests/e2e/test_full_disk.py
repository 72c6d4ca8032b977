"""A disk that fills while a run goes on: one line, exit code 1, and nothing lost that a resumed run needs."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import ROOT, called, records, untimed
from tgpo.runs.directory import complete

pytestmark = pytest.mark.slow

ARGUMENTS = ["train.steps=8", "train.checkpoint_every=2", "train.keep_checkpoints=1", "eval.every=4",
             "rollout.prompts_per_batch=2", "task.eval_two_terms=4", "task.eval_more_terms=4"]  # fmt: skip
Running = forked.Process | subprocess.Popen[str]
IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    process = called(*ARGUMENTS, f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    return run


def in_a_namespace(run: Path, before: str) -> subprocess.Popen[str]:
    """The run in a mount namespace of its own, in an interpreter of its own therefore."""
    words = shlex.join([sys.executable, str(ROOT / "run.py"), *ARGUMENTS, f"output_dir={run}"])
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    shell = [*IN_A_NAMESPACE, f"{before} && exec {words}"]
    return subprocess.Popen(shell, cwd=ROOT, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)


def wait_for(condition: Callable[[], bool], process: Running) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stopped(process: Running) -> str:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def goes_on(run: Path, whole: Path) -> None:
    """What is on disk is whole, and a resumed run ends as one that was never stopped: no step twice, none missing."""
    kept = complete(run / "checkpoints")
    assert [path.name for path in kept] in (["step-2"], ["step-4"], ["step-6"])
    assert all(line.endswith("}") for line in (run / "metrics.jsonl").read_text().splitlines())
    assert (run / "metrics.jsonl").read_bytes().endswith(b"\n")
    process = called(f"resume={run}")
    assert process.returncode == 0, process.stderr
    assert untimed(run) == untimed(whole)
    assert [r["step"] for r in records(run, "train")] == list(range(1, 9))
    assert json.loads((run / "status.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("what", "room"), [("metrics.jsonl", 100), pytest.param("checkpoints/step-", 2_000_000, marks=pytest.mark.long)]
)
def test_a_limit_on_the_size_of_files(what, room, whole, tmp_path):
    """Set from outside after the first checkpoint: in the middle of the next line, or of the next checkpoint."""
    run = tmp_path / "run"
    process = forked.start(*ARGUMENTS, f"output_dir={run}")
    wait_for(lambda: (run / "checkpoints" / "step-2").exists(), process)
    limit = room if room > 100_000 else (run / "metrics.jsonl").stat().st_size + room
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    line = stopped(process)
    assert line.startswith(f"stopped: {run / what}")
    assert re.search(r": the file is too large; make room; go on from step-\d with: python run.py resume=", line)
    assert line.endswith(f"resume={run}")
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    goes_on(run, whole)


@pytest.fixture
def namespace() -> Iterator[None]:
    if not shutil.which("unshare") or subprocess.run([*IN_A_NAMESPACE, "mount -t tmpfs none /mnt"]).returncode:
        pytest.skip("this machine lets no user mount a file system of their own")
    yield


def filled(folder: Path, leave: int) -> None:
    """Takes all of the file system's room but so many bytes."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            file.truncate(max(file.tell() - leave, 0))


@pytest.mark.parametrize("leave", [pytest.param(0, marks=pytest.mark.long), 4_000_000])
@pytest.mark.usefixtures("namespace")
def test_a_file_system_without_room(leave, whole, tmp_path):
    """A tmpfs of 64 MB, filled after the first checkpoint: no room for a line, and room for half a checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    process = in_a_namespace(disk / "run", before=f"mount -t tmpfs -o size=64m none {disk}")
    seen = Path(f"/proc/{process.pid}/root{disk}")
    wait_for(lambda: (seen / "run" / "checkpoints" / "step-2").exists(), process)
    held = os.open(seen, os.O_RDONLY | os.O_DIRECTORY)  # the file system lives as long as this
    try:
        filled(seen, leave)
        line = stopped(process)
        run = Path(shutil.copytree(f"/proc/self/fd/{held}/run", tmp_path / "run"))
    finally:
        os.close(held)
    assert line.startswith(f"stopped: {disk}/run/")
    assert re.search(r": the disk is full; make room; go on from step-\d with: python run.py resume=", line)
    assert line.endswith(f"resume={disk}/run")
    if leave:
        assert "/checkpoints/step-" in line
    goes_on(run, whole)
