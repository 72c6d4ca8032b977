from __future__ import annotations

import torch

from tgpo.functional.batching import by_token_budget
from tgpo.functional.sequence import join, scatter
from tgpo.types.batch import TokenBatch

BATCH = TokenBatch(
    prompt_BP=torch.tensor([[0, 11, 12], [21, 22, 23]]),
    prompt_mask_BP=torch.tensor([[0, 1, 1], [1, 1, 1]]),
    response_BT=torch.tensor([[13, 14, 15, 16], [24, 0, 0, 0]]),
    mask_BT=torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]]),
)


def test_padding_goes_to_the_right_and_each_token_is_predicted_from_the_one_before():
    joined = join(BATCH)
    assert joined.ids_BS.tolist() == [[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 0, 0]]
    predicted = joined.ids_BS[joined.row_N, joined.position_N + 1]
    assert predicted.tolist() == joined.token_N.tolist() == [13, 14, 15, 16, 24]


def test_scatter_undoes_the_picking():
    joined = join(BATCH)
    assert scatter(joined.token_N, BATCH.mask_BT).tolist() == BATCH.response_BT.tolist()


def test_select_drops_columns_that_are_all_padding():
    part = BATCH.select(torch.tensor([1]))
    assert part.response_BT.tolist() == [[24]]
    assert part.prompt_BP.tolist() == [[21, 22, 23]]


def test_budget_keeps_every_row_once_and_is_held():
    lengths = torch.tensor([5, 90, 30, 7, 30, 1])
    parts = by_token_budget(lengths, 60)
    assert sorted(torch.cat(parts).tolist()) == list(range(6))
    assert all(len(part) == 1 or len(part) * int(lengths[part].max()) <= 60 for part in parts)


def test_no_forward_is_wider_than_its_longest_sequence():
    """A long prompt beside a long response: their columns are not added up, so that a token budget holds."""
    lopsided = TokenBatch(
        prompt_BP=torch.ones(2, 100, dtype=torch.long),
        prompt_mask_BP=torch.stack([torch.ones(100), (torch.arange(100) >= 95).float()]).long(),
        response_BT=torch.ones(2, 100, dtype=torch.long),
        mask_BT=torch.stack([(torch.arange(100) < 5).float(), torch.ones(100)]),
    )
    assert join(lopsided).ids_BS.shape == (2, 105)
