"""A run of before the package was regrouped and its options renamed goes on in the package of today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, called, untimed

pytestmark = pytest.mark.slow

BEFORE = ROOT / "tests" / "fixtures" / "run_before_rooms" / "run"


@pytest.fixture
def run(tmp_path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "run"))


def test_a_run_with_old_names_resumes(run):
    process = called(f"resume={run}")
    assert process.returncode == 0, process.stderr
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    records = untimed(run)
    assert [r["step"] for r in records if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    kept = untimed(BEFORE)
    assert records[: len(kept)] == kept
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["scale"]["tgpo"]["weight"] == saved["objective"]["weight"] == [0.4, 0.01, 0.0]
    assert "tuning" not in saved and "tuning" not in saved["choices"]


def test_its_options_can_change_under_their_new_names(run):
    changed = [f"resume={run}", "scale.tgpo.weight=[0.9,0.0,0.0]", "train.steps=5"]
    refused = called(*changed)
    assert refused.returncode == 2
    assert "scale.tgpo.weight: [0.4, 0.01, 0] -> [0.9, 0.0, 0.0]" in refused.stderr
    process = called(*changed, "resume_with_changes=true")
    assert process.returncode == 0, process.stderr
    assert untimed(run)[-2]["loss/teacher_weight"] == 0.9
    assert yaml.safe_load((run / "config.yaml").read_text())["objective"]["weight"] == [0.9, 0.0, 0.0]
