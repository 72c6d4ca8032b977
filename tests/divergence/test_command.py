"""The command as a user calls it, on the shipped models."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from tests.conftest import called

pytestmark = pytest.mark.slow

MODULE = "tgpo.divergence"
SMALL = ["divergence.prompts=12", "divergence.samples=2", "divergence.resamples=200"]


def test_it_leaves_a_table_a_figure_and_the_numbers(tmp_path):
    folder = tmp_path / "made" / "here"
    process = called(*SMALL, f"divergence.output_dir={folder}", module=MODULE)
    assert process.returncode == 0, process.stderr
    for words in ("student responds: 24", "reverse KL, exact", "tiny:large-gap against tiny:teacher", str(folder)):
        assert words in process.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["divergence.json", "divergence.svg", "table.md"]

    record = json.loads((folder / "divergence.json").read_text())
    assert record["prompts"] == 12
    found = record["findings"]
    for name, finding in found.items():
        if finding["low"] is not None:
            # an interval by resampling need not hold the value, but a mean's is never far off it
            assert finding["low"] <= finding["high"], name
    # the large gap is one: the benchmark's students are chosen by it, and their cards say so
    assert found["divergence/reverse_kl"]["low"] > 3
    assert found["divergence/teacher_coverage@1000"]["value"] == pytest.approx(1, abs=1e-5)
    assert found["log_ratio/p5"]["value"] <= found["log_ratio/p50"]["value"] <= found["log_ratio/p99"]["value"]

    table = (folder / "table.md").read_text()
    for finding in found.values():
        assert f"| {finding['label']} " in table
    figure = "".join(ET.fromstring((folder / "divergence.svg").read_text()).itertext())
    for words in ("tiny:large-gap against tiny:teacher", "12 prompts x 2 responses", "nats a token", "teacher"):
        assert words in figure

    again = called(*SMALL, f"divergence.output_dir={folder}", module=MODULE)
    assert again.returncode == 2
    assert "already holds a measurement" in again.stderr
    other = tmp_path / "other"
    assert called(*SMALL, f"divergence.output_dir={other}", module=MODULE).returncode == 0
    assert json.loads((other / "divergence.json").read_text())["findings"] == found


def test_teacher_against_itself_on_training_problems(tmp_path):
    """Where the cap ends every response, what is about the end is left out, not made up."""
    itself = ["student.path=tiny:teacher", "rollout.max_response_length=5", "divergence.problems=training"]
    process = called(*SMALL, *itself, f"divergence.output_dir={tmp_path}", module=MODULE)
    assert process.returncode == 0, process.stderr
    assert "training problems: 12 prompts x 2 responses, 120 tokens" in " ".join(process.stdout.split())
    found = json.loads((tmp_path / "divergence.json").read_text())["findings"]
    assert found["divergence/reverse_kl"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["divergence/overlap@5"]["value"] == 1
    assert found["student/ended_fraction"]["value"] == 0
    assert found["student/eos_at_end"]["value"] is None
    assert found["student/length_ended_mean"]["value"] is None
    assert found["student/length_mean"]["value"] == 5


def test_help():
    process = called("--help", module=MODULE)
    assert process.returncode == 0
    assert "conf/divergence.yaml" in process.stdout
