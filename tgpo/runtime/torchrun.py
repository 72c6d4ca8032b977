"""Coordinates the processes that `torchrun` started, which it describes in environment variables.

Torch is imported only if there are several processes, because the import takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from tgpo.errors import RequestError
from tgpo.runs.keys import OF_THE_RECORD

T = TypeVar("T")


class HasConfiguration(Protocol):
    @property
    def resolved(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=HasConfiguration)


def process_count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_count_here() -> int:
    """Returns the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def is_main() -> bool:
    """Returns whether this is the main process, which prints, logs, computes rewards and writes files."""
    return os.environ.get("RANK", "0") == "0"


def print_error(message: str) -> None:
    """Prints a message once, however many processes there are."""
    if is_main():
        print(message, file=sys.stderr)


def join_with_one_request(check: Callable[[], R]) -> R:
    """Joins the processes and returns this one's checked request, after comparing all of them.

    Raises RequestError on every process if the check fails on one, or if two requests differ. From then on only the
    main process prints.
    """
    from tgpo.runtime import collectives

    take_own_device()
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  stays open as long as the process lives
    collectives.join_process_group()
    requests = collectives.run_on_all_ranks(check)
    for rank, request in enumerate(requests):
        if difference := first_difference(requests[0].resolved, request.resolved):
            key, first, other = difference
            raise RequestError(
                f"process {rank} was given {key}={other} and process 0 {key}={first}; start all with the same command"
            )
    return requests[collectives.rank()]


def broadcast(value: T) -> T:
    """Returns the main process's value on every process."""
    if process_count() == 1:
        return value
    from tgpo.runtime import collectives

    return collectives.gather(value)[0]


def run_on_main(work: Callable[[], T]) -> T:
    """Runs `work` on the main process alone and returns its result on every process."""
    if process_count() == 1:
        return work()
    from tgpo.runtime import collectives

    return collectives.run_on_main(work)


def take_own_device() -> None:
    """Hides the other processes' GPUs from this one, because vLLM uses the first that it sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return
    local, here = int(os.environ["LOCAL_RANK"]), process_count_here()
    devices = visible.split(",") if visible else [str(number) for number in range(here)]
    if local >= len(devices):
        raise RequestError(f"torchrun began {here} processes here and CUDA_VISIBLE_DEVICES={visible}; begin as many")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[local]


def leave() -> None:
    """Leaves the process group that `join_with_one_request` joined."""
    if process_count() > 1:
        from tgpo.runtime import collectives

        collectives.leave_process_group()


def first_difference(ours: Any, theirs: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """Returns the first key in which two configurations differ, and its two values; None if they are equal.

    `output_dir`, whose name contains the time, and the record of what was typed are not compared.
    """
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return None if ours == theirs else (key, ours, theirs)
    for name in sorted({*ours, *theirs} - {"output_dir", *OF_THE_RECORD}):
        inner = f"{key}.{name}" if key else name
        if difference := first_difference(ours.get(name), theirs.get(name), inner):
            return difference
    return None
