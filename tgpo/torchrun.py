"""What a command does when `torchrun` began several of it: they agree on the request, and one of them speaks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tgpo.config import Request
from tgpo.errors import RequestError

T = TypeVar("T")


def processes() -> int:
    """How many there are; asked of the environment, because torch takes seconds."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes()))


def several() -> bool:
    return processes() > 1


def is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def tell(message: str) -> None:
    """Once, however many processes there are."""
    if is_main():
        print(message, file=sys.stderr)


def agreed(checked: Callable[[], Request], own: Path) -> tuple[Request, Path]:
    """The request, which must be the same in every process, and the main one's directory. The others fall silent."""
    from tgpo import distributed

    take_own_device()
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the life of the process
    distributed.start()
    requests = distributed.together(checked)
    for rank, request in enumerate(requests):
        if where := first_difference(requests[0].resolved, request.resolved):
            key, ours, theirs = where
            raise RequestError(
                f"process {rank} was given {key}={theirs} and process 0 {key}={ours}; start all with the same command"
            )
    return requests[distributed.rank()], distributed.gather(own)[0]


def first_alone(work: Callable[[], T]) -> T:
    """What `work` gives in the first process, which alone does it; in all of them."""
    if not several():
        return work()
    from tgpo import distributed

    return distributed.once(work)


def take_own_device() -> None:
    """Each process sees its own GPU alone, as vLLM must: it takes the first it sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen == "":
        return
    local, here = int(os.environ["LOCAL_RANK"]), processes_here()
    devices = seen.split(",") if seen else [str(number) for number in range(here)]
    if local >= len(devices):
        raise RequestError(f"torchrun began {here} processes here and CUDA_VISIBLE_DEVICES={seen}; begin as many")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[local]


def leave() -> None:
    """Ends what `agreed` began."""
    if several():
        from tgpo import distributed

        distributed.stop()


def first_difference(ours: Any, theirs: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """Of two configurations: the first key that differs, and its two values. Folders are named by the clock."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return None if ours == theirs else (key, ours, theirs)
    for name in sorted({*ours, *theirs} - {"output_dir", "overrides", "choices"}):
        inner = f"{key}.{name}" if key else name
        if found := first_difference(ours.get(name), theirs.get(name), inner):
            return found
    return None
