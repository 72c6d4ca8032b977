"""The hf teacher against a naive forward pass, one sequence at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tgpo.errors import RequestError
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.base import check_signal
from tgpo.teachers.hf import HFTeacher
from tgpo.types.teacher import TeacherQuery


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
    signal = HFTeacher(model, len(tokenizer), max_logits, max_tokens).score(tokens, TeacherQuery(topk=4))
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
    signal = HFTeacher(model, len(tokenizer), 2**24, 10_000).score(tokens, TeacherQuery(topk=1))
    expected = naive(model, rollouts[0])
    shifted = expected.roll(-1, 0).gather(1, torch.tensor(rollouts[0].response_ids)[:, None])[:, 0]
    length = len(rollouts[0].response_ids)
    assert (signal.sampled_logprobs_BT[0, :length] - shifted).abs().max() > 1


def test_leaves_the_model_as_it_was(scored, tokenizer):
    _, tokens, model = scored
    HFTeacher(model, len(tokenizer), 2**24, 10_000).score(tokens, TeacherQuery())
    assert all(p.grad is None for p in model.parameters())


def test_at_other_tokens_and_whole_distributions(scored, tokenizer):
    rollouts, tokens, model = scored
    ids = torch.randint(0, len(tokenizer), (*tokens.mask_BT.shape, 6))
    for max_tokens in (64, 10_000):
        teacher = HFTeacher(model, len(tokenizer), 101 * 7, max_tokens)
        signal = teacher.score(tokens, TeacherQuery(at_ids_BTK=ids, full=True))
        assert signal.topk_ids_BTK is None
        for row, rollout in enumerate(rollouts):
            expected, length = naive(model, rollout), len(rollout.response_ids)
            at_ids = expected.gather(1, ids[row, :length])
            torch.testing.assert_close(signal.at_student_topk_BTK[row, :length], at_ids, rtol=1e-4, atol=1e-4)
            with torch.no_grad():
                whole = signal.head(signal.hidden_BTH[row, :length])[:, : len(tokenizer)].log_softmax(-1)
            torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)


def uniform(tokens, seed):
    return torch.rand(tokens.mask_BT.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_its_draws_follow_the_seed_and_its_distribution(scored, tokenizer):
    rollouts, tokens, model = scored

    def drawn(seed, max_tokens=10_000):
        query = TeacherQuery(uniform_BT=uniform(tokens, seed))
        return HFTeacher(model, len(tokenizer), 2**24, max_tokens).score(tokens, query).sample_ids_BT

    real = tokens.mask_BT > 0
    assert torch.equal(drawn(1)[real], drawn(1, max_tokens=64)[real])
    draws = torch.stack([drawn(seed)[real] for seed in range(40)])
    expected = torch.cat([naive(model, rollout) for rollout in rollouts])
    surprise = -expected.gather(1, draws.T).mean()
    entropy = -(expected.exp() * expected).sum(-1).mean()
    # the mean surprise of draws is the entropy; 40 draws at some 500 positions have it within a few hundredths
    assert surprise.item() == pytest.approx(entropy.item(), abs=0.05)


def test_a_teacher_that_answers_badly_is_refused(scored, tokenizer):
    _, tokens, model = scored
    at_ids_BTK = torch.zeros(*tokens.mask_BT.shape, 2, dtype=torch.long)
    query = TeacherQuery(topk=4, at_ids_BTK=at_ids_BTK, uniform_BT=uniform(tokens, 0))
    good = HFTeacher(model, len(tokenizer), 2**24, 10_000).score(tokens, query)
    check_signal(good, query, tokens, len(tokenizer))
    best = good.topk_logprobs_BTK
    faults = {
        "gave no topk_logprobs_BTK": {"topk_logprobs_BTK": None},
        "gave no sample_ids_BT": {"sample_ids_BT": None},
        "topk_ids_BTK has shape": {"topk_ids_BTK": good.topk_ids_BTK[..., :3]},
        "sampled_logprobs_BT are not finite": {"sampled_logprobs_BT": good.sampled_logprobs_BT * float("nan")},
        "at_student_topk_BTK are not finite": {"at_student_topk_BTK": good.at_student_topk_BTK - float("inf")},
        "log-probabilities are at most 0": {"sampled_logprobs_BT": good.sampled_logprobs_BT + 40},
        "not normalised": {"topk_logprobs_BTK": best * 0.1 - 0.5},
        "not sorted": {"topk_logprobs_BTK": best.flip(-1) - 1},
        "names token 1000": {"sample_ids_BT": good.sample_ids_BT + 1000 - good.sample_ids_BT},
        "same token twice": {"topk_ids_BTK": good.topk_ids_BTK[..., :1].expand(-1, -1, 4)},
    }
    for words, change in faults.items():
        with pytest.raises(RequestError, match=words):
            check_signal(replace(good, **change), query, tokens, len(tokenizer))
