"""`python -m tgpo.tasks.verifier_host DESCRIPTOR SECONDS WORKERS MEMORY`: judges answers for the run that started it.

Started by `verifier_pool` with an environment and a session of its own. A process of its own, so that workers are
copies of one that has loaded math-verify and nothing else, whatever the run has loaded, opened or has in its
environment.
Requests and verdicts are JSON: nothing that crosses the border is unpickled.
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

ANSWERS_PER_WORKER = 1_000  # then a fresh one takes its place: sympy's caches grow
WALL_FACTOR = 10  # the clock's limit over the processor's: reached by a worker that sleeps, or has almost no processor
LOOK_SECONDS = 0.2  # between two looks at whether the run is still there


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
        pass  # the run is gone
    finally:
        pool.stop()
        pool.join()


def next_request(connection: Connection, run: int) -> list[tuple[str, str]] | None:
    """The next pairs of gold and text; None when the run is gone. A process it forked may hold its end open still."""
    while not connection.poll(LOOK_SECONDS):
        if os.getppid() != run:
            return None
    return json.loads(connection.recv_bytes())


def verdicts(
    pool: ProcessPool, pairs: list[tuple[str, str]], seconds: float, connection: Connection, run: int
) -> Iterator[tuple[int, Verdict]]:
    """Each verdict as it comes, with the index of its pair. Ends early when the run is gone, or closed its end."""
    futures: dict[Future[Verdict], int] = {
        pool.schedule(judge, (gold, text, seconds), timeout=WALL_FACTOR * seconds): index
        for index, (gold, text) in enumerate(pairs)
    }
    waiting = set(futures)
    while waiting and os.getppid() == run and not connection.poll(0):  # it says nothing until it has all verdicts
        done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
        for future in done:
            yield futures[future], verdict(future)


def verdict(future: Future[Verdict]) -> Verdict:
    """Of an answer that has been judged, or whose worker ended; raises what befell the pool itself."""
    error = future.exception()
    if isinstance(error, ProcessExpired):
        return "spent" if error.exitcode in (-signal.SIGPROF, OUT_OF_MEMORY) else "lost"
    if isinstance(error, OverdueError):
        return "lost"
    return future.result()


if __name__ == "__main__":
    main()
