"""The folders that a command writes into: their names, and taking away again what was made for a refused request."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tgpo.errors import RequestError
from tgpo.runs.sweep import folder_name


def run_directory(resume: Any, output_dir: Any) -> str:
    """The OmegaConf resolver behind `hydra.run.dir`: a resumed run goes on in its own directory."""
    named, given = ("output_dir", output_dir) if resume is None else ("resume", resume)
    if not isinstance(given, str) or not given:
        raise RequestError(f"{named}={given}: give a folder")
    if resume is not None and not (Path(given) / "config.yaml").is_file():
        raise RequestError(f"resume={given}: no run there (no config.yaml)")
    first_missing(os.path.abspath(given))
    return str(Path(given))


@cache
def first_missing(folder: str) -> str | None:
    """The outermost folder of a path that does not exist when this is first asked, or None where all of it exists.

    Hydra makes the folder of a run before the request is checked; a request that is refused takes it away again.
    """
    path = Path(folder)
    missing = [str(p) for p in (path, *path.parents) if not p.exists()]
    return missing[-1] if missing else None


def remove_if_empty(directory: Path) -> None:
    """Removes an empty folder that was made for this command, with the empty folders above it that were made too."""
    outermost = first_missing(os.path.abspath(directory))
    for path in (directory, *directory.parents) if outermost else ():
        if not path.is_dir() or any(path.iterdir()):
            return
        with suppress(OSError):  # another process was quicker
            path.rmdir()
        if os.path.abspath(path) == outermost:
            return


# For `conf/`, which names a run's folder by the one and a sweep's by the other. Registered by importing this module,
# because Hydra's launchers compose in processes of their own.
OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
