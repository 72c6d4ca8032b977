"""Real processes that begin in milliseconds: forks of one that has imported torch, transformers and this package.

An interpreter takes five seconds to import them, and a hundred tests need a process each that can be killed, signalled
or left to end by itself. `python -m tests.forked` is the server; `start` asks it for a child, which runs `run.py` or a
module as the interpreter would, in a working directory and an environment of its own. What is about starting itself
(torchrun, launchers, the installed command) is tested with interpreters.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PRELOADED = (
    "torch", "transformers", "transformers.models.qwen3.modeling_qwen3", "hydra", "tgpo.cli.job", "tgpo.training.run",
    "tgpo.preflight.checks", "tgpo.preflight.table", "tgpo.report.page", "tgpo.report.sweep_page",
    "tgpo.demonstrations.generate", "tgpo.evaluation.examine", "tgpo.runtime.isolation", "peft",
)  # fmt: skip
FORK_SAFE = {"jemalloc_bg_thd"}  # pyarrow's allocator, which prepares itself for forks


class Process:
    """The part of `subprocess.Popen`'s interface that tests use, for a child of the fork server."""

    def __init__(self, server: Client, pid: int, output: Path) -> None:
        self.server, self.pid, self.output = server, pid, output
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)  # readable when it has ended

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self._reap()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return (self.output / "stdout").read_text(), (self.output / "stderr").read_text()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        self.returncode = self.server.ask({"reap": self.pid})["code"]
        os.close(self._end)


class Client:
    """The test's side of the fork server, which starts at first need and ends with the test process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.outputs = tempfile.TemporaryDirectory(prefix="forked-")  # removed when the test process ends
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
            cwd=ROOT, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        theirs.close()
        self.connection = ours.makefile("rw")
        atexit.register(self.process.kill)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.connection.write(json.dumps(request) + "\n")
        self.connection.flush()
        return json.loads(self.connection.readline())


_server: Client | None = None


def start(
    *arguments: str,
    module: str | None = None,
    script: Path = ROOT / "run.py",
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    new_session: bool = False,
) -> Process:
    """`python run.py ARGUMENTS`, or `python -m MODULE ARGUMENTS`, under way. Its output goes to files."""
    global _server
    if _server is None:
        _server = Client()
    output = Path(tempfile.mkdtemp(dir=_server.outputs.name))
    request = {
        "arguments": arguments, "module": module, "script": str(script), "cwd": str(cwd), "output": str(output),
        "env": dict(env or os.environ), "new_session": new_session,
    }  # fmt: skip
    return Process(_server, _server.ask(request)["pid"], output)


def run(*arguments: str, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """`start`, to its end."""
    process = start(*arguments, **options)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)


def ranks(count: int, *arguments: str, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """The processes that torchrun would start, in the environment that it gives them, each to its end.

    What they print comes one after another, and the exit code is the one that is largest in magnitude.
    """
    shared = {**os.environ, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    processes = [start(*arguments, env=shared | each, **options) for each in own]
    try:
        said = [process.communicate(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode or 0 for process in processes]
    out, err = ("".join(text) for text in zip(*said, strict=True))
    return subprocess.CompletedProcess(list(arguments), max(codes, key=abs), out, err)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def serve(descriptor: int) -> None:
    """Answers one request after another, without a thread: what is forked must hold no other thread's lock."""
    import importlib

    from hydra.core.plugins import Plugins

    for name in PRELOADED:
        importlib.import_module(name)
    from tgpo.report import page

    Plugins.instance()  # Hydra's search for them takes a second
    bundle = vega_bundle_from_subprocess()  # bundling takes a second too, and would start threads here
    page.vega_bundle = lambda: bundle
    names = [Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in os.listdir("/proc/self/task")]
    assert set(names[1:]) <= FORK_SAFE, f"threads {names[1:]}: what is forked may hold another's lock"
    gc.collect()
    gc.freeze()  # so that a collection in a child does not copy the pages of imported modules
    connection = socket.socket(fileno=descriptor).makefile("rw")
    for line in connection:
        request = json.loads(line)
        if "reap" in request:
            _, status = os.waitpid(request["reap"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                os.close(descriptor)
                child(request)
            answer = {"pid": pid}
        connection.write(json.dumps(answer) + "\n")
        connection.flush()


def vega_bundle_from_subprocess() -> str:
    """Vega's JavaScript, put together in a process of its own."""
    program = "from tgpo.report.page import vega_bundle; print(vega_bundle(), end='')"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def child(request: dict[str, Any]) -> None:
    """The life of a process, as an interpreter leads it; it does not return."""
    import threading

    if request["new_session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: Any = 1
    try:
        prepare(request)
        if request["module"]:
            sys.argv = [request["module"], *request["arguments"]]
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [request["script"], *request["arguments"]]
            runpy.run_path(request["script"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter itself would
        import traceback

        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepare(request: dict[str, Any]) -> None:
    atexit._clear()
    for name, number in (("stdout", 1), ("stderr", 2)):
        file = os.open(Path(request["output"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = str(Path(request["script"]).parent)
    time.tzset()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
