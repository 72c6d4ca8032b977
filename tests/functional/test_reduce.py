from __future__ import annotations

import pytest
import torch

from tgpo.functional.reduce import reduce, token_weights
from tgpo.types.problem import Reduction

MASK = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
LOSS = torch.tensor([[1.0, 2, 3], [10, 99, 99]])


@pytest.mark.parametrize(
    ("reduction", "expected"), [("token", 16 / 4), ("sequence", (2 + 10) / 2), ("constant", 16 / (2 * 5))]
)
def test_golden(reduction, expected):
    weights = token_weights(MASK, Reduction(reduction), max_response_length=5)
    assert reduce(LOSS, weights).item() == pytest.approx(expected)


@pytest.mark.parametrize("reduction", list(Reduction))
def test_masked_values_are_ignored_whatever_they_are(reduction):
    weights = token_weights(MASK, reduction, 5)
    loss = LOSS.clone()
    loss[1, 1:] = torch.tensor([float("nan"), float("inf")])
    assert reduce(loss, weights) == reduce(LOSS, weights)


@pytest.mark.parametrize("reduction", list(Reduction))
def test_nothing_to_train_on_is_zero(reduction):
    assert token_weights(torch.zeros(2, 3), reduction, 5).sum() == 0


def test_an_empty_sequence_still_counts():
    mask = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert reduce(torch.ones(2, 2), token_weights(mask, Reduction.SEQUENCE, 2)).item() == 0.5
