"""The gradient-variance estimate against known covariances."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgpo.metrics.gradients import ExactGroupGradients, SketchedGroupGradients, variance_statistics

GROUPS, SIZE = 6, 12


def feed(meter_class, parameters, gradients, *arguments):
    """Hands per-group gradients (rows; their mean is the update's) to a meter as backward passes would."""
    meter = meter_class(parameters, *arguments)
    for gradient in gradients / len(gradients):
        for parameter, share in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            share = share.view_as(parameter)
            parameter.grad = share.clone() if parameter.grad is None else parameter.grad + share
        meter.close_group()
    return meter.finish()


@pytest.fixture
def parameters():
    return [nn.Parameter(torch.zeros(3, 3, dtype=torch.float64)), nn.Parameter(torch.zeros(3, dtype=torch.float64))]


def test_exact_is_the_definition(parameters):
    gradients = torch.randn(GROUPS, SIZE, dtype=torch.float64) + 1
    result = feed(ExactGroupGradients, parameters, gradients)
    mean = gradients.mean(0)
    variance = (gradients - mean).square().sum() / (GROUPS - 1)
    signal = mean.square().sum() - variance / GROUPS
    assert result["gradient/variance"] == pytest.approx(variance.item(), rel=1e-12)
    assert result["gradient/snr"] == pytest.approx((signal / (variance / GROUPS)).item(), rel=1e-9)
    assert result["gradient/noise_scale"] == pytest.approx((variance / signal).item(), rel=1e-9)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), mean)


def test_expectation_matches_a_known_covariance(parameters):
    """Over 2,000 draws the mean of S is within 2 % of the trace of the covariance it was drawn from."""
    factor = torch.randn(SIZE, SIZE, dtype=torch.float64)
    true_mean, trace = torch.linspace(-1, 1, SIZE, dtype=torch.float64), factor.square().sum().item()
    estimates = []
    for _ in range(2_000):
        for parameter in parameters:
            parameter.grad = None
        draws = torch.randn(GROUPS, SIZE, dtype=torch.float64) @ factor.T + true_mean
        estimates.append(feed(ExactGroupGradients, parameters, draws)["gradient/variance"])
    # the standard error of this mean is about 0.7 % (measured with this seed), so 2 % is nearly three of them
    assert sum(estimates) / len(estimates) == pytest.approx(trace, rel=0.02)


def test_sketch_is_unbiased(parameters):
    gradients = torch.randn(GROUPS, SIZE, dtype=torch.float64) + 0.5
    exact = feed(ExactGroupGradients, parameters, gradients)["gradient/variance"]
    estimates = []
    for seed in range(2_000):
        for parameter in parameters:
            parameter.grad = None
        estimates.append(feed(SketchedGroupGradients, parameters, gradients, 4, seed)["gradient/variance"])
    # buckets of three elements each collide a lot: one sketch is far off, their mean is not
    assert sum(estimates) / len(estimates) == pytest.approx(exact, rel=0.03)
    assert max(estimates) > 1.2 * exact


def test_sketch_leaves_the_update_gradient_in_place(parameters):
    gradients = torch.randn(GROUPS, SIZE, dtype=torch.float64)
    feed(SketchedGroupGradients, parameters, gradients, 4, 0)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), gradients.mean(0))


def test_one_group_has_no_variance():
    assert variance_statistics([3.0], 3.0) == {}


def test_one_group_with_a_gradient_leaves_no_signal(parameters):
    """Its square and a variance over groups then cancel, all but their rounding, which differs from run to run."""
    gradients = torch.zeros(GROUPS, SIZE, dtype=torch.float64)
    gradients[2] = torch.randn(SIZE, dtype=torch.float64)
    assert feed(ExactGroupGradients, parameters, gradients)["gradient/snr"] == 0
