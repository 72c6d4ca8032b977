"""The hf teacher against a naive forward pass, one sequence at a time."""

from __future__ import annotations

import pytest
import torch

from tgpo.engine import pad
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher


@pytest.fixture
def scored(student_model, teacher_model, tokenizer):
    problems = Arithmetic(eval_two_terms=3, eval_more_terms=5).eval_problems()
    rollouts = HFRollout(student_model, tokenizer, [1]).generate(problems, Sampling(2, 1.0, 40, 0))
    return rollouts, pad(rollouts, 0), teacher_model


def naive(model, rollout) -> torch.Tensor:
    """Log-probabilities `[T,V]` for each response position, from the logits one position earlier."""
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.response_ids]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    return logits[len(rollout.prompt_ids) - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("max_tokens", [64, 10_000])
@pytest.mark.parametrize("max_logits", [101 * 7, 2**24])
def test_agrees_with_a_naive_forward(scored, tokenizer, max_tokens, max_logits):
    rollouts, tokens, model = scored
    signal = HFTeacher(model, len(tokenizer), max_logits, max_tokens).score(tokens, topk=4)
    for row, rollout in enumerate(rollouts):
        expected, length = naive(model, rollout), len(rollout.response_ids)
        ids = torch.tensor(rollout.response_ids)
        sampled = expected.gather(1, ids[:, None])[:, 0]
        torch.testing.assert_close(signal.sampled_logprobs_BT[row, :length], sampled, rtol=1e-4, atol=1e-4)
        best = expected.topk(4).values
        torch.testing.assert_close(signal.topk_logprobs_BTK[row, :length], best, rtol=1e-4, atol=1e-4)
        at_ids = expected.gather(1, signal.topk_ids_BTK[row, :length])
        torch.testing.assert_close(at_ids, best, rtol=1e-4, atol=1e-4)


def test_a_shift_by_one_would_be_seen(scored, tokenizer):
    """Scoring token t at position t instead of t-1 is far outside the tolerance above."""
    rollouts, tokens, model = scored
    signal = HFTeacher(model, len(tokenizer), 2**24, 10_000).score(tokens, topk=1)
    expected = naive(model, rollouts[0])
    shifted = expected.roll(-1, 0).gather(1, torch.tensor(rollouts[0].response_ids)[:, None])[:, 0]
    length = len(rollouts[0].response_ids)
    assert (signal.sampled_logprobs_BT[0, :length] - shifted).abs().max() > 1


def test_leaves_the_model_as_it_was(scored, tokenizer):
    _, tokens, model = scored
    HFTeacher(model, len(tokenizer), 2**24, 10_000).score(tokens, topk=0)
    assert all(p.grad is None for p in model.parameters())
