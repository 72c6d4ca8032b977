"""Small files that are whole or absent at any moment, and folders that can be made."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

try:  # libyaml's reads a configuration ten times as fast, which counts over hundreds of runs
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader

from tgpo.errors import RequestError, writing


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{path}: not a JSON object")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file."""
    try:
        found = yaml.load(path.read_bytes(), SafeLoader)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{path}: not a configuration")
    return found


def make_folder(path: Path, option: str) -> Path:
    """Made before the work that it is for; `option` is what named it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{option}={path}: {str(error.strerror).lower()}; give another folder") from error
    return path


def write_whole(path: Path, text: str) -> None:
    """Written aside, synced, renamed: a reader sees the old file or the new one."""
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
    """Writes a file that is not there yet, whole at once; False where another did, be it in the same moment.

    Two runs that begin in one second have folders of one name, and one of them alone may have it.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")  # no temporary file of Python's, which others may not read
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
            path.write_text(text, encoding="utf-8")  # a file system without links
        finally:
            aside.unlink(missing_ok=True)
    return True
