"""Digests of the files and folders that a configuration names by path: what is read there can change, the path not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tgpo.models.loading import resolve
from tgpo.runs.checksums import sha256

PATHS = ("path", "eval_path", "chat_template")  # options that name files or folders, in any section
MODELS = ("student", "teacher", "teachers")
SAMPLED_ABOVE, SAMPLE = 64 * 2**20, 2**20  # bytes of a file of weights, and of each end of it that is hashed


def digests(resolved: Mapping[str, Any]) -> dict[str, str]:
    """Returns, for each option that names something on this machine, a digest of its contents: SHA-256 of all files, or
    the commit of a hub repository in the local cache.

    Of weights above 64 MiB only the size and both ends are hashed, so that a model of 15 GB takes no minute.
    """
    found = {}
    for key, value, section in named_paths(resolved):
        of_a_model = key.split(".")[0] in MODELS
        local = Path(resolve(value, section.get("revision")) if of_a_model else value).expanduser()
        if local.exists():
            found[key] = commit_of(local) or contents(local)
        elif key.endswith(".path") and not of_a_model and (commit := cached_dataset(value, section.get("revision"))):
            found[key] = commit
    return found


def named_paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yields the dotted name, the value and the section of each option that names a file or a folder."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from named_paths(value, f"{prefix}{name}.")
        elif name in PATHS and isinstance(value, str) and value:
            yield f"{prefix}{name}", value, node


def contents(path: Path) -> str:
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
        size = file.stat().st_size
        total.update(f"{file.relative_to(path) if path.is_dir() else ''}\0{size}\0".encode())
        if file.suffix == ".safetensors" and size > SAMPLED_ABOVE:
            with file.open("rb") as opened:
                total.update(opened.read(SAMPLE))
                opened.seek(-SAMPLE, 2)
                total.update(opened.read(SAMPLE))
        else:
            total.update(sha256(file).encode())
    return total.hexdigest()[:16]


def commit_of(folder: Path) -> str | None:
    """Returns the commit of a snapshot in the hub's cache, whose folder is named after it."""
    return folder.name[:16] if folder.parent.name == "snapshots" else None


def cached_dataset(name: str, revision: str | None) -> str | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return commit_of(Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
