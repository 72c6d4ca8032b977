from __future__ import annotations

import pytest

from tests.hub import use_caches


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return use_caches(tmp_path / "cache", monkeypatch)
