"""The script for a GPU works before there is one: every phase, on a CPU at toy sizes, as `make gpu-bare` runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.gpu.phases import PHASES
from tests.conftest import ROOT


@pytest.mark.long
def test_every_phase_rehearses(tmp_path):
    kit = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--out", str(tmp_path)]
    process = subprocess.run(kit, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert process.returncode == 0, process.stdout[-3000:]
    for name in PHASES:
        record = json.loads((tmp_path / f"gpu-{name}.json").read_text())
        assert record["rows"] and "failed" not in record, name
