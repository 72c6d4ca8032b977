from __future__ import annotations

import torch

from tgpo.functional.policy_gradient import clipped_surrogate


def test_golden_and_gradient():
    old = torch.zeros(1, 4, dtype=torch.float64)
    ratio = torch.tensor([[1.1, 1.5, 0.5, 0.5]], dtype=torch.float64)
    advantage = torch.tensor([[1.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    logprobs = ratio.log().requires_grad_(True)
    surrogate = clipped_surrogate(logprobs, old, advantage, 0.2, 0.2)
    # inside the clip; cut from above; a good token made less likely is never cut; a bad one is
    torch.testing.assert_close(surrogate.loss_BT, torch.tensor([[-1.1, -1.2, -0.5, 0.8]], dtype=torch.float64))
    assert surrogate.clipped_BT.tolist() == [[0, 1, 0, 1]]
    (gradient,) = torch.autograd.grad(surrogate.loss_BT.sum(), logprobs)
    torch.testing.assert_close(gradient, torch.tensor([[-1.1, 0.0, -0.5, 0.0]], dtype=torch.float64))


def test_old_logprobs_and_advantage_get_no_gradient():
    parts = [torch.randn(2, 3, requires_grad=True) for _ in range(3)]
    loss = clipped_surrogate(*parts, 0.2, 0.2).loss_BT.sum()
    gradients = torch.autograd.grad(loss, parts, allow_unused=True)
    assert gradients[0] is not None and gradients[1] is None and gradients[2] is None
