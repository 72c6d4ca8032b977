"""The public conformance cases: losses and gradients of an independent float64 implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.conformance.adapter import evaluate

CASES = json.loads((Path(__file__).parent / "cases-public.json").read_text())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_agrees_with_the_independent_implementation(case, dtype):
    loss, gradient = evaluate(case, dtype)
    expected = torch.tensor(case["expected"]["grad"], dtype=torch.float64)
    # relative to the largest entry: single entries of a gradient cancel to far below it
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    assert loss == pytest.approx(case["expected"]["loss"], rel=tolerance)
    assert (torch.tensor(gradient, dtype=torch.float64) - expected).abs().max() <= tolerance * expected.abs().max()
