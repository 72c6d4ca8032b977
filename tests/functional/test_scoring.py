from __future__ import annotations

import pytest
import torch

from tgpo.functional.scoring import score_hidden, score_logits, topk_hidden, topk_logits

N, H, V, PADDED = 13, 6, 17, 23


@pytest.fixture
def parts():
    head = torch.nn.Linear(H, PADDED, bias=False).double()
    hidden = torch.randn(N, H, dtype=torch.float64, requires_grad=True)
    return head, hidden, torch.randint(0, V, (N,)), torch.randint(0, V, (N, 3))


def test_scores_are_the_log_softmax_over_the_real_vocabulary(parts):
    head, hidden, tokens, ids = parts
    scores = score_hidden(head, hidden, tokens, ids, 4, V, rows_per_chunk=100)
    full = head(hidden)[:, :V].log_softmax(-1)
    torch.testing.assert_close(scores.logprobs_N, full.gather(1, tokens[:, None])[:, 0])
    torch.testing.assert_close(scores.at_ids_NK, full.gather(1, ids))
    torch.testing.assert_close(scores.entropy_N, -(full.exp() * full).sum(-1))
    assert scores.own_topk_NK.equal(full.topk(4).indices)


def test_padding_columns_never_count(parts):
    head, hidden, tokens, ids = parts
    before = score_hidden(head, hidden, tokens, ids, 2, V, 100)
    with torch.no_grad():
        head.weight[V:] = 1e6
    after = score_hidden(head, hidden, tokens, ids, 2, V, 100)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_chunks_change_neither_scores_nor_gradients(parts):
    head, hidden, tokens, ids = parts
    results = []
    for rows in (100, 5, 1):
        scores = score_hidden(head, hidden, tokens, ids, 2, V, rows)
        loss = scores.logprobs_N.sum() + (scores.at_ids_NK**2).sum() + scores.entropy_N.sum()
        results.append((loss, *torch.autograd.grad(loss, [hidden, head.weight])))
    for other in results[1:]:
        for expected, value in zip(results[0], other, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_bfloat16_logits_are_widened():
    logits = (torch.randn(4, 50) * 10).bfloat16()
    tokens = torch.arange(4)
    exact = logits.double().log_softmax(-1)[torch.arange(4), tokens]
    scores = score_logits(logits, tokens, tokens[:, None])
    assert scores.logprobs_N.dtype == torch.float32
    torch.testing.assert_close(scores.logprobs_N.double(), exact, rtol=1e-5, atol=1e-5)  # float32 rounding


def test_topk_is_sorted_and_exact(parts):
    head, hidden, tokens, _ = parts
    best = topk_hidden(head, hidden, tokens, 5, V, rows_per_chunk=4)
    full = head(hidden)[:, :V].log_softmax(-1)
    torch.testing.assert_close(best.topk_logprobs_NK, full.topk(5).values)
    assert best.ids_NK.equal(full.topk(5).indices)
    torch.testing.assert_close(best.logprobs_N, topk_logits(head(hidden)[:, :V], tokens, 1).logprobs_N)
