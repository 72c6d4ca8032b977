from __future__ import annotations

import pytest
import torch

from tgpo.functional.divergence import forward_kl
from tgpo.functional.head import Against, score_hidden, score_teacher_hidden
from tgpo.functional.scoring import inverse_cdf, score_logits

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
    assert scores.topk_ids_NJ.equal(full.topk(4).indices)
    torch.testing.assert_close(scores.topk_logprobs_NJ, full.topk(4).values)


def test_padding_columns_never_count(parts):
    head, hidden, tokens, ids = parts
    before = score_hidden(head, hidden, tokens, ids, 2, V, 100)
    with torch.no_grad():
        head.weight[V:] = 1e6
    after = score_hidden(head, hidden, tokens, ids, 2, V, 100)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.fixture
def against():
    """A teacher of another width, padded to another vocabulary."""
    head = torch.nn.Linear(4, PADDED + 5, bias=False).double()
    return Against(forward_kl, torch.randn(N, 4, dtype=torch.float64), head)


def loss_of(scores):
    return scores.logprobs_N.sum() + (scores.at_ids_NK**2).sum() + scores.entropy_N.sum() + scores.divergence_N.sum()


@pytest.mark.parametrize("kind", ["plain", "biased", "hooked"])
def test_chunks_change_neither_scores_nor_gradients(parts, against, kind):
    head, hidden, tokens, ids = parts
    if kind == "biased":
        head = torch.nn.Linear(H, PADDED).double()
    if kind == "hooked":  # what a product with the weight alone would miss
        head.register_forward_hook(lambda module, given, logits: logits * 0.5)
    results = []
    for rows in (100, 5, 1):
        loss = loss_of(score_hidden(head, hidden, tokens, ids, 2, V, rows, against))
        results.append((loss, *torch.autograd.grad(loss, [hidden, *head.parameters()])))
    for other in results[1:]:
        for expected, value in zip(results[0], other, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_a_score_nobody_uses_needs_no_gradient_and_a_frozen_head_gets_none(parts):
    head, hidden, tokens, ids = parts
    (expected,) = torch.autograd.grad(score_hidden(head, hidden, tokens, ids, 0, V, 100).logprobs_N.sum(), hidden)
    head.requires_grad_(False)
    score_hidden(head, hidden, tokens, ids, 0, V, 5).logprobs_N.sum().backward()
    torch.testing.assert_close(hidden.grad, expected, rtol=1e-12, atol=1e-12)
    assert head.weight.grad is None


def test_under_autocast_the_backward_pass_multiplies_in_the_same_type(parts):
    head, hidden, tokens, ids = parts[0].float(), parts[1].detach().float().requires_grad_(), *parts[2:]
    results = []
    for rows in (100, 5):
        with torch.autocast("cpu", torch.bfloat16):
            scores = score_hidden(head, hidden, tokens, ids, 0, V, rows)
        assert scores.logprobs_N.dtype == torch.float32
        results.append((scores.logprobs_N, *torch.autograd.grad(loss_of(scores), [hidden, head.weight])))
    for expected, value in zip(*results, strict=True):
        assert value.dtype == torch.float32
        # chunks are rounded to bfloat16 (8 bits) before they are summed: an error or two in the last place of each
        torch.testing.assert_close(value, expected, rtol=2**-6, atol=2**-6)


def test_the_divergence_is_of_the_two_real_vocabularies(parts, against):
    head, hidden, tokens, ids = parts
    found = score_hidden(head, hidden, tokens, ids, 0, V, 5, against).divergence_N
    ours, theirs = (h(x)[:, :V].softmax(-1) for h, x in ((head, hidden), (against.head, against.hidden_NH)))
    torch.testing.assert_close(found, (theirs * (theirs / ours).log()).sum(-1))
    (from_teacher,) = torch.autograd.grad(found.sum(), against.head.weight, allow_unused=True)
    assert from_teacher is None


def test_bfloat16_logits_are_widened():
    logits = (torch.randn(4, 50) * 10).bfloat16()
    tokens = torch.arange(4)
    exact = logits.double().log_softmax(-1)[torch.arange(4), tokens]
    scores = score_logits(logits, tokens, tokens[:, None])
    assert scores.logprobs_N.dtype == torch.float32
    torch.testing.assert_close(scores.logprobs_N.double(), exact, rtol=1e-5, atol=1e-5)  # float32 rounding


@pytest.mark.parametrize("rows", [4, 100])
def test_what_a_teacher_answers(parts, rows):
    head, hidden, tokens, ids = parts
    uniform = torch.rand(N, dtype=torch.float64)
    scores = score_teacher_hidden(head, hidden, tokens, 5, ids, uniform, V, rows)
    full = head(hidden)[:, :V].log_softmax(-1)
    torch.testing.assert_close(scores.topk_logprobs_NK, full.topk(5).values)
    assert scores.topk_ids_NK.equal(full.topk(5).indices)
    torch.testing.assert_close(scores.logprobs_N, full.gather(1, tokens[:, None])[:, 0])
    torch.testing.assert_close(scores.at_ids_NJ, full.gather(1, ids))
    assert scores.sample_N.equal(inverse_cdf(full, uniform))


def test_more_of_the_top_than_there_are_is_all_of_it(parts):
    head, hidden, tokens, ids = parts
    assert score_hidden(head, hidden, tokens, ids, 1024, V, 100).topk_ids_NJ.shape == (N, V)
    assert score_teacher_hidden(head, hidden, tokens, 1024, ids, None, V, 4).topk_ids_NK.shape == (N, V)


def test_draws_have_the_distribution():
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000  # evenly spread, so the counts are exact
    drawn = inverse_cdf(probabilities.log().expand(1000, 4), uniform)
    assert torch.bincount(drawn, minlength=4).tolist() == [500, 0, 200, 300]
