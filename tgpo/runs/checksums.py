"""A checkpoint's `manifest.json`: SHA-256 and size of each of its files, written last. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

NAME = "manifest.json"
MARK = "manifest"  # true in state.json if there must be a manifest: older versions wrote none
ALWAYS = ("state.json", "optimizer.safetensors", "model/config.json")


def write(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing releases Python's global interpreter lock
        sums = list(pool.map(sha256, paths))
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, sums, strict=True)
    }
    (folder / NAME).write_bytes(rendered(files))


def rendered(files: dict[str, Any]) -> bytes:
    """Returns the manifest's bytes, with a checksum of their own, so that damage to the manifest is detected."""
    own = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return (json.dumps({"files": files, "sha256": own}, indent=1) + "\n").encode()


def damage(checkpoint: Path, within: str = "") -> str | None:
    """Returns the first file that differs from what was written, and how; None if all are intact.

    Args:
        within: checks only the files below that folder.
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
        yield f"{NAME}: damaged (its own checksum differs)"
        return
    wanted = {name: file for name, file in files.items() if name.startswith(within)}
    for name, file in wanted.items():  # cheap checks first
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
    """Returns whether there is a manifest; an older version wrote none, and then the files cannot be verified."""
    return (checkpoint / NAME).is_file()


def listed(checkpoint: Path) -> dict[str, Any] | None:
    try:
        content = (checkpoint / NAME).read_bytes()
        files = json.loads(content)["files"]
        return files if rendered(files) == content else None
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
