"""`python -m tgpo.tasks.verifier_host DESCRIPTOR SECONDS WORKERS MEMORY`: judges answers for the run that started it.

Started by `verifier_pool` with its own environment and session. It is a separate process so that the workers are forked
from a process that has loaded math-verify and nothing else, independent of the modules, open files and environment of
the run. Requests and verdicts are JSON: neither side unpickles data from the other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as OverdueError
from multiprocessing.connection import Connection

from pebble import ProcessExpired, ProcessPool

from tgpo.tasks.equivalence import OUT_OF_MEMORY, Verdict, confine, judge

ANSWERS_PER_WORKER = 1_000  # then the worker is replaced, because sympy's caches grow
WALL_FACTOR = 10  # wall-clock limit / processor-time limit; reached if a worker sleeps or gets almost no processor time
LOOK_SECONDS = 0.2  # between two checks that the run is still alive


def main() -> None:
    descriptor, seconds, workers, memory = sys.argv[1:]
    connection, run = Connection(int(descriptor)), os.getppid()
    context = multiprocessing.get_context("forkserver")  # a fork of this process would copy its threads' locks
    context.set_forkserver_preload([judge.__module__])
    pool = ProcessPool(int(workers), ANSWERS_PER_WORKER, confine, (int(memory),), context)
    try:
        while (pairs := next_request(connection, run)) is not None:
            for index, verdict in verdicts(pool, pairs, float(seconds), connection, run):
                connection.send_bytes(json.dumps([index, verdict]).encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the run has ended
    finally:
        pool.stop()
        pool.join()


def next_request(connection: Connection, run: int) -> list[tuple[str, str]] | None:
    """Returns the next pairs of gold answer and text; None when the run has ended.

    The parent's id is checked too, because a process that the run forked may hold its end of the pipe open.
    """
    while not connection.poll(LOOK_SECONDS):
        if os.getppid() != run:
            return None
    return json.loads(connection.recv_bytes())


def verdicts(
    pool: ProcessPool, pairs: list[tuple[str, str]], seconds: float, connection: Connection, run: int
) -> Iterator[tuple[int, Verdict]]:
    """Yields each verdict as it arrives, with its pair's index. Stops early when the run ends or closes its pipe."""
    futures: dict[Future[Verdict], int] = {
        pool.schedule(judge, (gold, text, seconds), timeout=WALL_FACTOR * seconds): index
        for index, (gold, text) in enumerate(pairs)
    }
    waiting = set(futures)
    # the run sends nothing until it has all verdicts, so `poll` is true only when the run has closed its end
    while waiting and os.getppid() == run and not connection.poll(0):
        done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
        for future in done:
            yield futures[future], verdict(future)


def verdict(future: Future[Verdict]) -> Verdict:
    """Returns the verdict on an answer that was judged or whose worker ended; raises an error of the pool itself."""
    error = future.exception()
    if isinstance(error, ProcessExpired):
        return "spent" if error.exitcode in (-signal.SIGPROF, OUT_OF_MEMORY) else "lost"
    if isinstance(error, OverdueError):
        return "lost"
    return future.result()


if __name__ == "__main__":
    main()
