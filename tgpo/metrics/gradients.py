"""Measures gradient variance between prompt groups.

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
FOLDS = 64  # rows of `size` elements that a sketch folds at a time: 17 MB of float32 at size 65,536
ROUNDING = 1e-9  # relative to |mean|^2; a smaller difference of two numbers of that size is rounding error


def variance_statistics(group_squares: Sequence[float], mean_square: float) -> dict[str, float]:
    """Returns the metrics from `|g_i|^2` of each group and `|mean|^2`; empty for fewer than two groups, as they have no
    variance."""
    n = len(group_squares)
    if n < 2:
        return {}
    variance = max(sum(group_squares) - n * mean_square, 0.0) / (n - 1)
    signal = mean_square - variance / n
    if abs(signal) < ROUNDING * mean_square:  # if only one group has a gradient, the two are equal up to rounding
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
    """Computes the exact squares, at the cost of a second gradient in memory.

    After each group its gradient is moved from `.grad` to the total, so that `.grad` holds one group's at a time.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.total: list[Tensor | None] = [None] * len(self.parameters)
        self.squares: list[float] = []

    def close_group(self) -> None:
        gradients = {i: p.grad for i, p in enumerate(self.parameters) if p.grad is not None}
        self.squares.append(square_norm([*gradients.values()]))
        add_up(self.total, gradients)
        for parameter in self.parameters:
            parameter.grad = None

    def finish(self) -> dict[str, float]:
        for parameter, total in zip(self.parameters, self.total, strict=True):
            parameter.grad = total
        n = len(self.squares)
        mean_square = square_norm([total for total in self.total if total is not None])
        # summed over groups, `.grad` is the update's gradient, the mean of the g_i; so g_i is n times a group's `.grad`
        return variance_statistics([square * n * n for square in self.squares], mean_square)


class SketchedGroupGradients:
    """Estimates the squares from a count-sketch of the gradient: random signs, elements folded onto `size` buckets.

    If the gradient is sharded, each process sketches its part with its own signs, and the sketches are summed. The
    sketch is linear, so a group's sketch is the difference of two; `E |sketch(x)|^2 = |x|^2` over the signs.
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
        *squares, mean_square = torch.stack([*self.squares, self.before.square().sum()]).tolist()
        return variance_statistics([square * n * n for square in squares], mean_square)

    def _sketch(self) -> Tensor:
        """Returns the sketch of `.grad`, computed on the parameters' device.

        Copying each fold to the host would take 23,000 copies per group at 1.5B parameters.
        """
        buckets = torch.zeros(self.size, dtype=torch.float64, device=self.device)
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            gradient = local(parameter.grad).flatten()
            generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + index + (rank() << 45))
            for part in gradient.split(self.size * FOLDS):
                signs = torch.randint(0, 2, part.shape, generator=generator, device=self.device, dtype=torch.int8)
                signed = part * signs.mul_(2).sub_(1)  # exact, as only the sign changes
                folded = nn.functional.pad(signed, (0, -len(part) % self.size)).view(-1, self.size)
                buckets += folded.sum(0, dtype=torch.float64)
        return sum_over_ranks(buckets)


def square_norm(gradients: Sequence[Tensor]) -> float:
    """Returns `sum_i |g_i|^2`, over the parts of all processes if the gradients are sharded."""
    # one call for all tensors, to hold Python's lock briefly: other threads run passes while each group is measured
    return float(sum_over_ranks(get_total_norm([local(gradient) for gradient in gradients]).double().square().cpu()))


def add_up(total: list[Tensor | None], gradients: Mapping[int, Tensor]) -> None:
    """Does `total[i] += gradients[i]` for each i, in one call for those that have a total already."""
    sums = {i: summed for i in gradients if (summed := total[i]) is not None}
    if sums:
        terms = [gradients[i] for i in sums]
        torch._foreach_add_([*sums.values()], terms)  # pyright: ignore[reportPrivateImportUsage]
    for i in gradients.keys() - sums.keys():
        total[i] = gradients[i]


def local(gradient: Tensor) -> Tensor:
    """Returns this process's part of a sharded gradient, or the gradient itself."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
