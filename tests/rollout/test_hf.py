"""The hf rollout engine against `model.generate` and against the trainer's own forward pass."""

from __future__ import annotations

import pytest
import torch

from tgpo.models.policy import Policy
from tgpo.rollout.base import Sampling, encode_prompts
from tgpo.rollout.hf import HFRollout, sample
from tgpo.rollout.padding import pad, pad_logprobs
from tgpo.tasks.arithmetic import Arithmetic

RAGGED = Arithmetic(eval_two_terms=6, eval_more_terms=10).eval_problems()


@pytest.fixture
def engine(student_model, tokenizer):
    return HFRollout(student_model, tokenizer, [tokenizer.eos_token_id])


def test_greedy_is_what_generate_writes(engine, student_model, tokenizer):
    """Ragged prompts, EOS and truncation at a cap that cuts some responses off."""
    cap = 24
    rollouts = engine.generate(RAGGED, Sampling(1, 0.0, cap, 0))
    for problem, rollout in zip(RAGGED, rollouts, strict=True):
        (prompt,) = encode_prompts(tokenizer, [problem])
        written = student_model.generate(torch.tensor([prompt]), max_new_tokens=cap, do_sample=False)
        assert list(rollout.response_ids) == written[0, len(prompt) :].tolist()
    assert {r.finish_reason for r in rollouts} == {"eos", "length"}


def test_finish_reasons_and_lengths(engine, tokenizer):
    cap = 24
    for rollout in engine.generate(RAGGED, Sampling(4, 1.0, cap, 0)):
        ends = [i for i, token in enumerate(rollout.response_ids) if token == tokenizer.eos_token_id]
        if rollout.finish_reason == "eos":
            assert ends == [len(rollout.response_ids) - 1]
        else:
            assert not ends
            assert len(rollout.response_ids) == cap


def test_logprobs_are_the_trainers(engine, student_model, tokenizer):
    """The sampler's log-probabilities, from a cache and left-padded prompts, against one full right-padded forward."""
    rollouts = engine.generate(RAGGED, Sampling(4, 0.7, 64, 0))
    tokens = pad(rollouts, tokenizer.pad_token_id)
    with torch.no_grad():
        logprobs_BT = Policy(student_model, len(tokenizer), 2**24)(tokens).logprobs_BT
    # float32 through four layers in two orders of summation: 1e-4 is ten times what was seen
    torch.testing.assert_close(pad_logprobs(rollouts, tokens.mask_BT), logprobs_BT, rtol=1e-4, atol=1e-4)


def test_same_seed_same_rollouts_and_another_seed_others(engine):
    first, again, other = (engine.generate(RAGGED[:4], Sampling(4, 1.0, 48, seed)) for seed in (1, 1, 2))
    assert first == again
    assert [r.response_ids for r in first] != [r.response_ids for r in other]


def test_a_prompt_is_answered_alike_alone_and_in_company(engine):
    """Left padding and the rows that leave the batch change nothing (greedy: no draw depends on the batch)."""
    together = engine.generate(RAGGED, Sampling(1, 0.0, 64, 0))
    for problem, rollout in zip(RAGGED, together, strict=True):
        assert engine.generate([problem], Sampling(1, 0.0, 64, 0))[0].response_ids == rollout.response_ids


def test_groups_and_policy_version(engine):
    engine.sync(7)
    rollouts = engine.generate(RAGGED[:3], Sampling(2, 1.0, 16, 0))
    assert [r.group for r in rollouts] == [0, 0, 1, 1, 2, 2]
    assert {r.policy_version for r in rollouts} == {7}


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_sampling_frequencies_are_the_tempered_softmax(temperature):
    logits, draws = torch.tensor([2.0, 0.0, -1.0, 1.0]), 40_000
    uniform = torch.rand(draws, dtype=torch.float64)
    tokens, logprobs = sample(logits.expand(draws, 4), uniform, temperature)
    expected = (logits / temperature).softmax(-1)
    seen = torch.bincount(tokens, minlength=4) / draws
    # four standard errors of a frequency near 1/2
    torch.testing.assert_close(seen, expected, atol=4 * (0.25 / draws) ** 0.5, rtol=0)
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[tokens])


def test_extreme_draws_stay_in_the_vocabulary():
    logits = torch.tensor([[0.0, -200.0, 0.0], [0.0, -200.0, 0.0]])
    tokens, _ = sample(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), 1.0)
    assert tokens.tolist() == [0, 2]
