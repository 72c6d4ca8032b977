"""What a process knows of the others that `torchrun` started beside it, read from the environment.

Torch is imported only where there are several: it takes seconds.
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
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def is_main() -> bool:
    """Whether this is the process that prints, logs, rewards and writes."""
    return os.environ.get("RANK", "0") == "0"


def print_error(message: str) -> None:
    """Prints a message once, however many processes there are."""
    if is_main():
        print(message, file=sys.stderr)


def join_with_one_request(check: Callable[[], R]) -> R:
    """Joins the processes and returns this one's checked request, after comparing all of them.

    Raises RequestError on every process where one process's check fails, or where two requests differ. From here on the
    processes beside the main one print nothing.
    """
    from tgpo.runtime import collectives

    take_own_device()
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the life of the process
    collectives.join_process_group()
    requests = collectives.run_on_all_ranks(check)
    for rank, request in enumerate(requests):
        if where := first_difference(requests[0].resolved, request.resolved):
            key, ours, theirs = where
            raise RequestError(
                f"process {rank} was given {key}={theirs} and process 0 {key}={ours}; start all with the same command"
            )
    return requests[collectives.rank()]


def broadcast(value: T) -> T:
    """The main process's value, on every process."""
    if process_count() == 1:
        return value
    from tgpo.runtime import collectives

    return collectives.gather(value)[0]


def run_on_main(work: Callable[[], T]) -> T:
    """What `work` returns on the main process, which alone does it; on every process."""
    if process_count() == 1:
        return work()
    from tgpo.runtime import collectives

    return collectives.run_on_main(work)


def take_own_device() -> None:
    """Hides the other processes' GPUs from this one: vLLM takes the first that it sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen == "":
        return
    local, here = int(os.environ["LOCAL_RANK"]), process_count_here()
    devices = seen.split(",") if seen else [str(number) for number in range(here)]
    if local >= len(devices):
        raise RequestError(f"torchrun began {here} processes here and CUDA_VISIBLE_DEVICES={seen}; begin as many")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[local]


def leave() -> None:
    """Ends what `join_with_one_request` began."""
    if process_count() > 1:
        from tgpo.runtime import collectives

        collectives.leave_process_group()


def first_difference(ours: Any, theirs: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key in which two configurations differ, and its two values. Folders are named by the clock."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return None if ours == theirs else (key, ours, theirs)
    for name in sorted({*ours, *theirs} - {"output_dir", *OF_THE_RECORD}):
        inner = f"{key}.{name}" if key else name
        if found := first_difference(ours.get(name), theirs.get(name), inner):
            return found
    return None
