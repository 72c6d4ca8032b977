"""Datasets where the tests need them: the fixtures, and copies of them laid out as the hub's cache is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures" / "datasets"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def use_caches(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Caches of their own for `datasets` and the hub, in this process and in those it starts; the hub's is returned."""
    import datasets
    from huggingface_hub import constants

    hub, arrow = folder / "hub", folder / "arrow"
    hub.mkdir(parents=True)
    patch.setattr(constants, "HF_HUB_CACHE", str(hub))
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", arrow)
    patch.setenv("HF_HUB_CACHE", str(hub))
    patch.setenv("HF_DATASETS_CACHE", str(arrow))
    return hub


def fetched(hub: Path, name: str, fixture: str, commit: str = COMMIT) -> Path:
    """What `hf download --repo-type dataset NAME` leaves in the cache."""
    repository = hub / f"datasets--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(FIXTURES / fixture, repository / "snapshots" / commit))
