"""The run's side of the processes that judge answers: starts them at first need, asks them, ends them."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tgpo.errors import StoppedError

if TYPE_CHECKING:
    from tgpo.tasks.equivalence import Verdict

SECONDS = 5.0  # of processor time for one answer; most take 2 ms
MEMORY_BYTES = 1 << 30  # of address space for one worker; math-verify itself takes about 60 MB
TRIES = 3
PATIENCE = 60.0  # beyond an answer's limit, until a silent host counts as stuck; it starts in 1 s
# what Python needs to start, and nothing of what a run's environment holds besides: keys stay with the run
PASSED_ON = ("PATH", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")


class VerifierPool:
    """Judges pairs in processes that nothing an answer does can take the run with.

    One process hosts the workers (`verifier_host`). It starts with the first pair and ends with the run, however that
    ends. If it is lost it is started again, and asked again for what it left open.
    """

    def __init__(self, seconds: float = SECONDS, workers: int | None = None, memory: int = MEMORY_BYTES) -> None:
        self.seconds, self.memory = seconds, memory
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.host: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner, self._lock = os.getpid(), Lock()

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """The verdict on each pair of gold answer and text. An answer beyond its limits delays no more than itself."""
        found: dict[int, Verdict] = {}
        with self._lock:
            for _ in range(TRIES):
                still = [index for index in range(len(pairs)) if index not in found]
                try:
                    self._ask(pairs, still, found)
                    return [found[index] for index in range(len(pairs))]
                except (EOFError, OSError):
                    self.close()
                except BaseException:  # an interrupt: what the host still says would be taken for the next answer
                    self.close()
                    raise
        raise StoppedError(f"the verifier's process was lost {TRIES} times in a row; is there memory and room in /tmp?")

    def _ask(self, pairs: Sequence[tuple[str, str]], still: list[int], found: dict[int, Verdict]) -> None:
        connection = self._connected()
        connection.send_bytes(json.dumps([pairs[index] for index in still]).encode())
        for _ in still:
            if not connection.poll(PATIENCE + 4 * self.seconds):
                raise TimeoutError
            index, verdict = json.loads(connection.recv_bytes())
            found[still[index]] = verdict

    def _connected(self) -> Connection:
        if self._owner != os.getpid():  # a fork: the host is the other process's
            self.host, self._connection, self._owner = None, None, os.getpid()
        if self._connection is None:
            self._connection, theirs = Pipe()
            self.host = start(theirs.fileno(), self.seconds, self.workers, self.memory)
            theirs.close()
            atexit.register(self.close)
        return self._connection

    def close(self) -> None:
        """Ends the host and its workers. The next pair would start them again."""
        atexit.unregister(self.close)
        if self._connection is None or self.host is None or self._owner != os.getpid():
            return
        self._connection.close()
        try:
            self.host.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self.host.pid, signal.SIGKILL)
            self.host.wait()
        self.host = self._connection = None


def start(descriptor: int, seconds: float, workers: int, memory: int) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C in the terminal is for the run. It prints nothing: its output goes nowhere."""
    package = Path(__file__).parents[2]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package), environment.get("PYTHONPATH"))))
    environment["PYTHONHASHSEED"] = "0"  # the order of a set of strings must not decide what sympy does
    return subprocess.Popen(
        [sys.executable, "-m", "tgpo.tasks.verifier_host", *map(str, (descriptor, seconds, workers, memory))],
        cwd=package,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        start_new_session=True,
    )
