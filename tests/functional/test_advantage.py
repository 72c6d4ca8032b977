from __future__ import annotations

import pytest
import torch

from tgpo.functional.advantage import group_advantage

GROUPS = torch.tensor([7, 3, 7, 3, 7, 3])


def test_golden():
    reward_B = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    # group 7: rewards 1 0 0, mean 1/3, unbiased std sqrt(1/3); group 3: rewards 0 0 1, the same
    high, low = (2 / 3) / (3**-0.5 + 1e-6), (-1 / 3) / (3**-0.5 + 1e-6)
    expected = torch.tensor([high, low, low, low, low, high], dtype=torch.float64)
    torch.testing.assert_close(group_advantage(reward_B, GROUPS, normalize_std=True), expected, rtol=1e-14, atol=0)
    centred = torch.tensor([2, -1, -1, -1, -1, 2], dtype=torch.float64) / 3
    torch.testing.assert_close(group_advantage(reward_B, GROUPS, normalize_std=False), centred, rtol=1e-14, atol=0)


@pytest.mark.parametrize("normalize_std", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
def test_equal_rewards_give_exactly_zero(value, normalize_std):
    # 0.1 * 6 / 6 is not 0.1 in float32: without care the rounding is divided by 1e-6
    advantage_B = group_advantage(
        torch.full((6,), value), torch.zeros(6, dtype=torch.long), normalize_std=normalize_std
    )
    assert (advantage_B == 0).all()


def test_a_group_of_one_is_zero():
    assert group_advantage(torch.tensor([1.0]), torch.tensor([0]), normalize_std=True).item() == 0


def test_order_of_sequences_does_not_matter():
    reward_B, order = torch.rand(6), torch.randperm(6)
    straight = group_advantage(reward_B, GROUPS, normalize_std=True)
    torch.testing.assert_close(group_advantage(reward_B[order], GROUPS[order], normalize_std=True), straight[order])
