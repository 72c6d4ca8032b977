"""Measures the time of gradient variance per group at 1.5B, exact and by sketch, to compare with that of an update."""

from __future__ import annotations

import torch

from benchmarks.gpu.models import random_model
from benchmarks.gpu.setting import Record, Setting, clocked, forget_peak, peak_bytes
from tgpo.metrics.gradients import ExactGroupGradients, SketchedGroupGradients

GROUPS = 4


def measure(setting: Setting, record: Record) -> None:
    device = setting.device
    model = random_model(setting, "1.5B")
    parameters = list(model.parameters())
    held = 2 * sum(p.numel() * p.element_size() for p in parameters)  # the weights and a gradient
    meters = {
        "exact": lambda: ExactGroupGradients(parameters),
        "sketch": lambda: SketchedGroupGradients(parameters, 65_536, 0),
    }
    for name, make in meters.items():
        forget_peak(device)
        meter, seconds = make(), list[float]()
        for group in range(GROUPS):
            torch.manual_seed(group)  # both methods get the same gradients
            for p in parameters:
                gradient = torch.randn_like(p)
                p.grad = gradient if p.grad is None else p.grad.add_(gradient)
            with clocked(device, seconds):
                meter.close_group()
        with clocked(device, finish := list[float]()):
            statistics = meter.finish()
        record.row(
            method=name, **{"seconds a group": min(seconds), "seconds to finish": finish[0]},
            **{"peak bytes above weights and gradient": peak_bytes(device) - held}, **statistics,
        )  # fmt: skip
        for p in parameters:
            p.grad = None
