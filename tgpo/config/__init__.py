"""Composes configurations from `conf/`, checks them, and computes a request's sizes before anything is built."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# the yaml files lie at the top of a checkout, and inside an installed package
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
