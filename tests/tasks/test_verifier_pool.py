"""The processes behind the verifier: what they may do, what they know, and that they go when the run goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tgpo.errors import StoppedError
from tgpo.tasks.verifier import Verifier
from tgpo.tasks.verifier_pool import VerifierPool

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")]
FOREVER = r"\boxed{9^{9^{9^{9}}}}"
FINE = ("0.5", r"\boxed{\frac12}")


def family(session: int) -> dict[int, str]:
    """The processes of a session, zombies aside, with their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = path.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found[int(path.name)] = path.joinpath("cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue  # it has just ended
    return found


def wait_until(true, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def workers(pool: VerifierPool) -> list[int]:
    """Children of the fork server: the processes that judge."""
    assert pool.host
    servers = [pid for pid, line in family(pool.host.pid).items() if "forkserver" in line]
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in servers}
    return [pid for pid, parent in parents.items() if parent in servers]


@pytest.fixture
def pool():
    made = VerifierPool(seconds=5, workers=2)
    yield made
    made.close()


def test_it_starts_at_first_need_and_leaves_nothing(pool):
    assert pool.host is None
    assert pool.judge([FINE]) == ["right"]
    session = pool.host.pid
    assert len(workers(pool)) == 2
    pool.close()
    assert wait_until(lambda: not family(session))
    assert pool.judge([FINE]) == ["right"]  # and starts again


def test_processes_know_no_secret_print_nowhere_and_load_no_torch(pool, monkeypatch):
    key = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert pool.judge([FINE]) == ["right"]
    for pid in family(pool.host.pid):
        process = Path(f"/proc/{pid}")
        assert key.encode() not in process.joinpath("environ").read_bytes()
        assert "torch" not in process.joinpath("maps").read_text()
        assert {os.readlink(process / "fd" / str(number)) for number in range(3)} == {"/dev/null"}


def test_a_worker_has_limits():
    code = """if True:
        import os, resource, sys, tempfile
        from tgpo.tasks.equivalence import confine
        confine(1 << 28)
        try:
            bytearray(1 << 29)
        except MemoryError:
            print("no memory")
        try:
            with open(sys.argv[1], "w") as file:
                file.write("x")
        except OSError as error:
            print("no file")
        print(resource.getrlimit(resource.RLIMIT_CORE))
    """
    done = subprocess.run([sys.executable, "-c", code, "written"], cwd=ROOT, capture_output=True, text=True, check=True)
    (ROOT / "written").unlink()
    assert done.stdout.splitlines() == ["no memory", "no file", "(0, 0)"]


def test_a_worker_that_is_killed_costs_its_answer_alone(pool):
    made = Verifier(pool)
    assert made.rewards(*zip(FINE, strict=True)).values == [1.0]
    killed = []

    def kill_the_busy() -> None:
        def busy() -> list[int]:
            return [pid for pid in workers(pool) if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "R"]

        if wait_until(lambda: bool(busy()), 20):
            time.sleep(0.5)  # past the start of the answer
            killed.extend(busy()[:1])
            os.kill(killed[0], signal.SIGSEGV)

    killer = threading.Thread(target=kill_the_busy)
    killer.start()
    found = made.rewards(["5", "5"], [FOREVER, r"\boxed{5.0}"])
    killer.join()
    assert killed
    assert (found.values, found.timeouts) == ([0.0, 1.0], 1)
    assert list(made.known.values()) == ["right", "right"]  # what was lost is not kept: it is asked for again


def test_a_host_that_is_killed_is_started_again(pool):
    assert pool.judge([FINE]) == ["right"]
    session = pool.host.pid
    os.kill(session, signal.SIGKILL)
    assert pool.judge([("5", r"\boxed{6.0}"), FINE]) == ["wrong", "right"]
    assert pool.host.pid != session
    assert wait_until(lambda: not family(session))


def test_a_host_that_does_not_start_stops_the_run(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoppedError, match="3 times in a row"):
        VerifierPool().judge([FINE])


def test_it_works_in_a_thread(pool):
    found = []
    thread = threading.Thread(target=lambda: found.extend(pool.judge([FINE, ("5", r"\boxed{6.0}")])))
    thread.start()
    thread.join()
    assert found == ["right", "wrong"]


def test_a_fork_of_the_run_has_a_pool_of_its_own(pool):
    assert pool.judge([FINE]) == ["right"]
    session = pool.host.pid
    if (child := os.fork()) == 0:
        verdict = pool.judge([FINE])
        other = pool.host.pid
        pool.close()
        os._exit(0 if verdict == ["right"] and other != session else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.judge([("5", r"\boxed{6.0}")]) == ["wrong"]
    assert pool.host.pid == session


RUN = """
import sys
from tgpo.tasks.verifier_pool import VerifierPool
pool = VerifierPool(seconds=5, workers=2)
print(pool.judge([("0.5", r"\\boxed{\\frac12}")]), pool.host.pid, flush=True)
if sys.argv[1] == "hang":
    pool.judge([("5", r"\\boxed{9^{9^{9^{9}}}}"), ("5", r"\\boxed{9^{9^{9^{8}}}}")])
"""


def begin(what: str) -> tuple[subprocess.Popen[str], int]:
    """A script without a main guard, in a process group of its own; and the session of its verifier."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, what],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert process.stdout
    verdict, session = process.stdout.readline().rsplit(" ", 1)
    assert verdict == "['right']"
    return process, int(session)


def test_a_process_that_ends_takes_them_along():
    process, session = begin("end")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert wait_until(lambda: not family(session))


def test_a_process_that_is_killed_leaves_no_orphans():
    process, session = begin("hang")
    time.sleep(1)  # the workers are busy, and would be for long
    assert len(family(session)) >= 4
    process.kill()
    process.communicate()
    assert wait_until(lambda: not family(session))


def test_ctrl_c_is_for_the_run():
    """The terminal sends SIGINT to the whole group: one traceback, the run's own, and nothing left behind."""
    process, session = begin("hang")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")
    assert wait_until(lambda: not family(session))
