"""The run's side of the processes that judge answers: starts them when first needed, sends requests, ends them."""

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

SECONDS = 5.0  # processor time for one answer; most take 2 ms
MEMORY_BYTES = 1 << 30  # address space of one worker; math-verify itself takes about 60 MB
TRIES = 3
PATIENCE = 60.0  # seconds beyond an answer's limit until a silent host counts as stuck; it starts in 1 s
# the environment variables that Python needs to start; others, such as API keys, are not passed on
PASSED_ON = ("PATH", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")


class VerifierPool:
    """Judges pairs in separate processes, so that no answer can crash the run.

    One process hosts the workers (`verifier_host`). It starts with the first pair and ends with the run, however that
    ends. If it is lost, it is started again and judges the pairs that have no verdict yet.
    """

    def __init__(self, seconds: float = SECONDS, workers: int | None = None, memory: int = MEMORY_BYTES) -> None:
        self.seconds, self.memory = seconds, memory
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.host: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner, self._lock = os.getpid(), Lock()

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Returns the verdict on each pair of gold answer and text. An answer over its limits delays no others."""
        verdicts: dict[int, Verdict] = {}
        with self._lock:
            for _ in range(TRIES):
                pending = [index for index in range(len(pairs)) if index not in verdicts]
                try:
                    self._request(pairs, pending, verdicts)
                    return [verdicts[index] for index in range(len(pairs))]
                except (EOFError, OSError):
                    self.close()
                except BaseException:  # an interrupt: verdicts still to arrive would be read as those of the next call
                    self.close()
                    raise
        raise StoppedError(f"the verifier's process was lost {TRIES} times in a row; is there memory and room in /tmp?")

    def _request(self, pairs: Sequence[tuple[str, str]], pending: list[int], verdicts: dict[int, Verdict]) -> None:
        """Sends the pending pairs to the host and adds each verdict to `verdicts` as it arrives."""
        connection = self._connected()
        connection.send_bytes(json.dumps([pairs[index] for index in pending]).encode())
        for _ in pending:
            if not connection.poll(PATIENCE + 4 * self.seconds):
                raise TimeoutError
            index, verdict = json.loads(connection.recv_bytes())
            verdicts[pending[index]] = verdict

    def _connected(self) -> Connection:
        if self._owner != os.getpid():  # this process is a fork; the host belongs to its parent
            self.host, self._connection, self._owner = None, None, os.getpid()
        if self._connection is None:
            self._connection, host_end = Pipe()
            self.host = start(host_end.fileno(), self.seconds, self.workers, self.memory)
            host_end.close()
            atexit.register(self.close)
        return self._connection

    def close(self) -> None:
        """Ends the host and its workers. The next pair starts them again."""
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
    """Starts the host in its own session, so that Ctrl-C in the terminal reaches only the run. It prints nothing."""
    package = Path(__file__).parents[2]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package), environment.get("PYTHONPATH"))))
    environment["PYTHONHASHSEED"] = "0"  # fixes the order of sets of strings, on which sympy's result may depend
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
