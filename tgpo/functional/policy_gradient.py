"""The clipped surrogate that the policy-gradient objectives share, truncated importance weights, and LUFFY's shaped
probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """`loss_BT` (with gradient), and `clipped_BT`: 1 where the clip removed the gradient, otherwise 0."""

    loss_BT: Tensor
    clipped_BT: Tensor


def clipped_surrogate(
    logprobs_BT: Tensor, old_logprobs_BT: Tensor, advantage_BT: Tensor, clip_low: float, clip_high: float
) -> Surrogate:
    r"""`-min(r_t A_t, clip(r_t, 1-clip_low, 1+clip_high) A_t)`, `r_t = exp(log pi_theta(a_t) - log pi_old(a_t))`.

    Args:
        logprobs_BT: `log pi_theta(a_t | s_t)`, nats, with gradient.
        old_logprobs_BT: `log pi_old(a_t | s_t)`, pi_old the policy that sampled; detached here.
        advantage_BT: detached here.

    Source: PPO, arXiv 1707.06347, equation 7, negated.
    """
    advantage_BT = advantage_BT.detach()
    ratio_BT = torch.exp(logprobs_BT - old_logprobs_BT.detach())
    unclipped_BT = ratio_BT * advantage_BT
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high) * advantage_BT
    cut_BT = (clipped_BT < unclipped_BT).to(logprobs_BT.dtype)
    return Surrogate(-torch.minimum(unclipped_BT, clipped_BT), cut_BT.detach())


def truncated_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor, cap: float) -> Tensor:
    """`min(sg[pi_theta(a_t) / pi_old(a_t)], cap)`: a weight, without gradient.

    Source: truncated importance sampling, Ionides 2008; in distillation, SDPO, arXiv 2601.20802.
    """
    return torch.exp((logprobs_BT - old_logprobs_BT).detach()).clamp(max=cap)


def shaped_probability(logprobs_BT: Tensor, gamma: float) -> Tensor:
    """`f(p) = p / (p + gamma)`, `p = pi_theta(y_t)`: slope `gamma / (p + gamma)^2`, steepest where p is 0.

    Source: LUFFY, arXiv 2504.14945, section 3.3.
    """
    probability_BT = logprobs_BT.exp()
    return probability_BT / (probability_BT + gamma)
