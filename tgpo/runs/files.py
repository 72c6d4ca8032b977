"""Writes small files that are complete or absent at any moment, reads them, and creates folders."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

try:  # libyaml's loader is ten times as fast, which matters for hundreds of runs
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader

from tgpo.errors import RequestError, writing


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RequestError(f"{path}: not a JSON object")
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file."""
    try:
        content = yaml.load(path.read_bytes(), SafeLoader)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise RequestError(f"{path}: not a configuration")
    return content


def make_folder(path: Path, option: str) -> Path:
    """Creates an output folder, before the work starts; `option` is the option that names it, for the error."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{option}={path}: {str(error.strerror).lower()}; give another folder") from error
    return path


def write_whole(path: Path, text: str) -> None:
    """Writes a temporary file, syncs it and renames it: a reader sees either the old file or the new one."""
    aside = path.with_name(f".{path.name}.partial")
    with writing(path):
        write_synced(aside, text)
    os.replace(aside, path)


def write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def claim(path: Path, text: str) -> bool:
    """Creates a file atomically; returns False if it exists, even if another process creates it at the same moment.

    Two runs that begin in the same second have the same folder name, and only one may use the folder.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")  # not a `tempfile`, which other users cannot read
    with writing(path):
        try:
            write_synced(aside, text)
            os.link(aside, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if path.exists():
                return False
            path.write_text(text, encoding="utf-8")  # a file system without hard links
        finally:
            aside.unlink(missing_ok=True)
    return True
