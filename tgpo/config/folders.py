"""Names the folders that a command writes into, and removes those that were created for a refused request."""

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
    """Returns `hydra.run.dir`, as an OmegaConf resolver: a resumed run continues in its own directory."""
    named, given = ("output_dir", output_dir) if resume is None else ("resume", resume)
    if not isinstance(given, str) or not given:
        raise RequestError(f"{named}={given}: give a folder")
    if resume is not None and not (Path(given) / "config.yaml").is_file():
        raise RequestError(f"resume={given}: no run there (no config.yaml)")
    first_missing(os.path.abspath(given))
    return str(Path(given))


@cache
def first_missing(folder: str) -> str | None:
    """Returns the outermost folder of a path that does not exist at the first call, or None if the whole path exists.

    Hydra creates the folder of a run before the request is checked. If the request is refused, the folder is removed,
    but no folder that existed before: therefore the first answer is cached.
    """
    path = Path(folder)
    missing = [str(p) for p in (path, *path.parents) if not p.exists()]
    return missing[-1] if missing else None


def remove_if_empty(directory: Path) -> None:
    """Removes an empty folder that was created for this command, and the empty folders above it that were too."""
    outermost = first_missing(os.path.abspath(directory))
    for path in (directory, *directory.parents) if outermost else ():
        if not path.is_dir() or any(path.iterdir()):
            return
        with suppress(OSError):  # another process has removed it or written into it
            path.rmdir()
        if os.path.abspath(path) == outermost:
            return


# For `conf/`: `run_directory` gives a run's folder, `folder_name` makes a folder's name from a run's name. They are
# registered when this module is imported, because Hydra's launchers compose in processes of their own.
OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
