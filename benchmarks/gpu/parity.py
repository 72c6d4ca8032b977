"""Compares loss and gradient of every objective and variant on the device with those on the CPU.

`conformance`: the cases of an independent float64 implementation; distances are from the numbers of that
implementation. `shipped`: the gradient of one update of the tiny student, with the same rollouts on both sides. The
reference is the CPU's float32; bfloat16 is compared with it on both devices, and their difference is what the device
adds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.setting import Record, Setting, tried
from tests.conformance.adapter import evaluate
from tests.laws.variants import VARIANTS
from tests.parts import SMALL, textbook
from tgpo.config.compose import request_from
from tgpo.rollout.base import Sampling
from tgpo.training.components import build_components
from tgpo.training.loop import Components
from tgpo.types.problem import Need, Problem, Rollout

CASES = "tests/conformance/cases-public.json"


def measure(setting: Setting, record: Record) -> None:
    with open(CASES) as file:
        cases = json.load(file)
    for case in cases[: setting.pick(None, 4)]:
        for dtype in (torch.float64, torch.float32):
            found = tried(agrees, setting, case, dtype)
            record.row(kind="conformance", name=case["name"], dtype=str(dtype)[6:], **found)
    for variant in VARIANTS[: setting.pick(None, 3)]:
        record.row(kind="shipped", name=variant, **tried(one_update, setting, variant))


def agrees(setting: Setting, case: dict[str, Any], dtype: torch.dtype) -> dict[str, float]:
    with setting.device:
        loss, gradient = evaluate(case, dtype)
    expected = torch.tensor(case["expected"]["grad"], dtype=torch.float64)
    apart = (torch.tensor(gradient, dtype=torch.float64) - expected).abs().max() / expected.abs().max()
    return {"loss": abs(loss / case["expected"]["loss"] - 1), "gradient": float(apart)}


class GivenRollouts:
    """Stands in for a rollout engine, with the same responses for both sides."""

    def __init__(self, rollouts: Sequence[Rollout]) -> None:
        self.rollouts = list(rollouts)

    def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]:
        return self.rollouts

    def sync(self, policy_version: int) -> None:
        pass


def one_update(setting: Setting, variant: str) -> dict[str, float]:
    """Returns relative distances of gradients, `|g - truth| / |truth|`."""
    truth, rollouts = gradient_of(variant, "cpu", "float32", None)
    device = setting.device.type
    gradients = {
        "float32": gradient_of(variant, device, "float32", rollouts)[0],
        "bfloat16": gradient_of(variant, device, "bfloat16", rollouts)[0],
        "bfloat16 on the CPU": gradient_of(variant, "cpu", "bfloat16", rollouts)[0],
    }
    return {name: float((g - truth).norm() / truth.norm()) for name, g in gradients.items()}


def gradient_of(
    variant: str, device: str, dtype: str, rollouts: Sequence[Rollout] | None
) -> tuple[Tensor, Sequence[Rollout]]:
    """Returns the first update's gradient, one float64 vector on the CPU, and the student's rollouts it came from."""
    name, *options = variant.split()
    chosen = [f"objective={name}", *(f"objective.{option}" for option in options)]
    small = [option for option in SMALL if not option.startswith("output_dir")]
    request = request_from([*small, *chosen, f"train.device={device}", f"train.dtype={dtype}"])
    demonstrations = textbook(request) if Need.DEMONSTRATION in request.objective.needs else None
    parts: Components = build_components(request, None, demonstrations)
    torch.use_deterministic_algorithms(False)
    trainer, engine = parts.trainer, parts.trainer.collector
    if rollouts is None:
        sampled: list[Rollout] = []
        inner = engine.rollout

        class Kept(GivenRollouts):
            def generate(self, problems: Sequence[Problem], sampling: Sampling) -> list[Rollout]:
                sampled[:] = [replace(r) for r in inner.generate(problems, sampling)]
                return sampled

        engine.rollout = Kept([])
        return trainer.gradient(1, 1).double().cpu(), sampled
    engine.rollout = GivenRollouts(rollouts)
    return trainer.gradient(1, 1).double().cpu(), rollouts
