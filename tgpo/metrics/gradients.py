"""Gradient variance, measured: the unit is the prompt group.

With per-group gradients g_1 .. g_N of one update before clipping, scaled so that their mean is the update's gradient:

    S = sum_i |g_i - mean|^2 / (N - 1)        gradient/variance     trace of the per-group covariance
    |G|^2 = |mean|^2 - S / N                  unbiased square of the true gradient's norm
    S / max(|G|^2, tiny)                      gradient/noise_scale
    |G|^2 / (S / N)                           gradient/snr          can be negative: it is unbiased

Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1, whose two batch sizes are one group and all N.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from tgpo.runtime.collectives import rank, sum_over_ranks

TINY = 1e-30
FOLDS = 64  # rows of `size` elements that a sketch folds at a time: 17 MB of float32 at 65,536
ROUNDING = 1e-9  # of |mean|^2: a difference of two numbers that is smaller than this share of them says nothing


def variance_statistics(group_squares: Sequence[float], mean_square: float) -> dict[str, float]:
    """From `|g_i|^2` of each group and `|mean|^2`; empty for fewer than two groups, which have no variance."""
    n = len(group_squares)
    if n < 2:
        return {}
    variance = max(sum(group_squares) - n * mean_square, 0.0) / (n - 1)
    signal = mean_square - variance / n
    if abs(signal) < ROUNDING * mean_square:  # where one group alone has a gradient, the two are equal
        signal = 0.0
    return {
        "gradient/variance": variance,
        "gradient/snr": signal / max(variance / n, TINY),
        "gradient/noise_scale": variance / max(signal, TINY),
    }


class GroupGradients(Protocol):
    """Called after each group's backward passes, and once at the end, when `.grad` holds the update's gradient."""

    def close_group(self) -> None: ...

    def finish(self) -> dict[str, float]: ...


class ExactGroupGradients:
    """Holds a second gradient: the groups so far are moved out of `.grad`, so that it holds one group's at a time."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.total: list[Tensor | None] = [None] * len(self.parameters)
        self.squares: list[float] = []

    def close_group(self) -> None:
        found = {i: p.grad for i, p in enumerate(self.parameters) if p.grad is not None}
        self.squares.append(square_norm([*found.values()]))
        add_up(self.total, found)
        for parameter in self.parameters:
            parameter.grad = None

    def finish(self) -> dict[str, float]:
        for parameter, total in zip(self.parameters, self.total, strict=True):
            parameter.grad = total
        n = len(self.squares)
        mean_square = square_norm([total for total in self.total if total is not None])
        # `.grad` summed over groups is the update's gradient, so a group's own is n times its share
        return variance_statistics([square * n * n for square in self.squares], mean_square)


class SketchedGroupGradients:
    """Holds a count-sketch of the gradient instead: seeded signs, elements folded onto `size` buckets.

    Of a sharded gradient each process sketches its part with signs of its own, and the parts are summed.
    The sketch is linear, so a group's is the difference of two; `E |sketch(x)|^2 = |x|^2` over the signs.
    Source: Charikar, Chen, Farach-Colton 2002.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], size: int, seed: int) -> None:
        self.parameters, self.size, self.seed = list(parameters), size, seed
        self.device = self.parameters[0].device
        self.before = torch.zeros(size, dtype=torch.float64, device=self.device)
        self.squares: list[Tensor] = []

    def close_group(self) -> None:
        after = self._sketch()
        self.squares.append((after - self.before).square().sum())
        self.before = after

    def finish(self) -> dict[str, float]:
        n = len(self.squares)
        *squares, whole = torch.stack([*self.squares, self.before.square().sum()]).tolist()
        return variance_statistics([square * n * n for square in squares], whole)

    def _sketch(self) -> Tensor:
        """On the parameters' device: at 1.5B a copy to the host for each fold would be 23,000 of them a group."""
        buckets = torch.zeros(self.size, dtype=torch.float64, device=self.device)
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            gradient = local(parameter.grad).flatten()
            generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + index + (rank() << 45))
            for part in gradient.split(self.size * FOLDS):
                signs = torch.randint(0, 2, part.shape, generator=generator, device=self.device, dtype=torch.int8)
                signed = part * signs.mul_(2).sub_(1)  # exact: a sign changes no digit
                folded = nn.functional.pad(signed, (0, -len(part) % self.size)).view(-1, self.size)
                buckets += folded.sum(0, dtype=torch.float64)
        return sum_over_ranks(buckets)


def square_norm(gradients: Sequence[Tensor]) -> float:
    """`sum_i |g_i|^2`, over the parts of all processes where the gradients are sharded."""
    # one call for all tensors: a step measures every group, beside passes that want Python's lock
    return float(sum_over_ranks(get_total_norm([local(gradient) for gradient in gradients]).double().square().cpu()))


def add_up(total: list[Tensor | None], gradients: Mapping[int, Tensor]) -> None:
    """`total[i] += gradients[i]`, in one call where there is a sum already."""
    sums = {i: found for i in gradients if (found := total[i]) is not None}
    if sums:
        terms = [gradients[i] for i in sums]
        torch._foreach_add_([*sums.values()], terms)  # pyright: ignore[reportPrivateImportUsage]
    for i in gradients.keys() - sums.keys():
        total[i] = gradients[i]


def local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
