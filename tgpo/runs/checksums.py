"""A checkpoint's `manifest.json`: each of its files with SHA-256 and size, written last. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

NAME = "manifest.json"
MARK = "manifest"  # true in state.json where there has to be one: checkpoints were once written without
ALWAYS = ("state.json", "optimizer.safetensors", "model/config.json")


def write(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock to others
        sums = list(pool.map(sha256, paths))
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, sums, strict=True)
    }
    (folder / NAME).write_bytes(rendered(files))


def rendered(files: dict[str, Any]) -> bytes:
    """With a sum of its own, so that a manifest is either these bytes or damaged."""
    own = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return (json.dumps({"files": files, "sha256": own}, indent=1) + "\n").encode()


def damage(checkpoint: Path, within: str = "") -> str | None:
    """The first file that is not as it was written, and what befell it; None where all are.

    Args:
        within: looks at the files below that folder alone.
    """
    return next(damages(checkpoint, within), None)


def damages(checkpoint: Path, within: str) -> Iterator[str]:
    if not is_listed(checkpoint):
        wanted = [name for name in ALWAYS if name.startswith(within)]
        yield from (f"{name}: missing" for name in wanted if not (checkpoint / name).is_file())
        if marked(checkpoint):
            yield f"{NAME}: missing"
        return
    files = listed(checkpoint)
    if files is None:
        yield f"{NAME}: damaged (its own sum is another)"
        return
    wanted = {name: file for name, file in files.items() if name.startswith(within)}
    for name, file in wanted.items():  # what costs nothing to see comes first
        path = checkpoint / name
        if not path.is_file():
            yield f"{name}: missing"
        elif path.stat().st_size != file["bytes"]:
            yield f"{name}: damaged ({path.stat().st_size} bytes of {file['bytes']})"
    for name, file in wanted.items():
        try:
            if sha256(checkpoint / name) != file["sha256"]:
                yield f"{name}: damaged (its SHA-256 is not the manifest's)"
        except OSError as error:
            yield f"{name}: damaged ({error.strerror})"


def is_listed(checkpoint: Path) -> bool:
    """False of a checkpoint that an older version wrote: what is in it cannot be verified."""
    return (checkpoint / NAME).is_file()


def listed(checkpoint: Path) -> dict[str, Any] | None:
    try:
        found = (checkpoint / NAME).read_bytes()
        files = json.loads(found)["files"]
        return files if rendered(files) == found else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def marked(checkpoint: Path) -> bool:
    try:
        return MARK in json.loads((checkpoint / "state.json").read_bytes())
    except OSError:
        return False
    except (ValueError, TypeError):
        return True


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
