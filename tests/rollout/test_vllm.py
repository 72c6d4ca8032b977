"""The vllm rollout engine, really run: in step with the trainer, reproducible, ending where hf ends."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from tests.vllm_engines import OPTIONS
from tgpo.errors import RequestError
from tgpo.models.vllm import make_engine
from tgpo.models.weights import add_adapters
from tgpo.options import LoraOptions
from tgpo.rollout import vllm
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.tasks.arithmetic import Arithmetic

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

PROBLEMS = Arithmetic().train_problems(0, 1, 96)
PADDED = 128  # columns of the head, of which the tokenizer has 101
EXACT = 1e-4  # nats, in float32


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def parts(request, student_model, tokenizer, tmp_path_factory):
    """A model with a padded head, tied to its embeddings or not, and an engine beside it."""
    model = copy.deepcopy(student_model)
    if request.param:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.resize_token_embeddings(PADDED)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, folder, vllm.load(str(folder), model, tokenizer, (1,), "float32", 128, OPTIONS, PROBLEMS[:2])


def trained(model):
    """The weights a few thousand steps on, as far as anyone can tell."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)


def test_after_a_sync_it_samples_the_trainers_policy(parts):
    model, _, engine = parts
    trained(model)
    assert engine.largest_gap(PROBLEMS, 40) > 1  # another policy
    engine.sync(1)
    tokens = sum(len(r.response_ids) for r in engine.generate(PROBLEMS, Sampling(1, 1.0, 40, 0)))
    assert engine.largest_gap(PROBLEMS, 40) < EXACT
    assert tokens >= 2_000
    trained(model)
    engine.sync(2)
    assert engine.largest_gap(PROBLEMS, 40) < EXACT


def test_after_a_sync_it_samples_the_adapters_too(parts):
    model, _, engine = parts
    adapted = copy.deepcopy(model)
    add_adapters(adapted, LoraOptions(rank=4, alpha=8, targets="all-linear"))
    trained(adapted)
    with_adapters = vllm.VLLMRollout(engine.engine, adapted, engine.tokenizer, engine.eos_ids)
    with_adapters.sync(1)
    assert with_adapters.largest_gap(PROBLEMS, 40) < EXACT
    assert engine.largest_gap(PROBLEMS, 40) > 100 * EXACT  # the model without them is another
    engine.sync(2)


def test_a_padding_column_is_neither_sampled_nor_counted(parts):
    model, _, engine = parts
    with torch.no_grad():
        model.get_output_embeddings().weight[101:] *= 50
    engine.sync(3)
    rollouts = engine.generate(PROBLEMS, Sampling(2, 1.0, 40, 0))
    assert max(max(r.response_ids) for r in rollouts) < 101
    assert engine.largest_gap(PROBLEMS, 40) < EXACT


def test_its_seed_decides_its_draws(parts):
    _, _, engine = parts
    first, again, other = (engine.generate(PROBLEMS[:8], Sampling(4, 1.0, 40, seed)) for seed in (5, 5, 6))
    ids = [[r.response_ids for r in rollouts] for rollouts in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0][:4])) > 1  # the samples of a problem have draws of their own
    fewer = engine.generate(PROBLEMS[:8], Sampling(3, 1.0, 40, 5, out_of=4))
    assert [r.response_ids for r in fewer] == [r.response_ids for i, r in enumerate(first) if i % 4 < 3]


@pytest.mark.parametrize("cap", [5, 96])
def test_ends_where_the_hf_engine_ends(student_model, tokenizer, parts, cap):
    """Greedy, from the shipped student: the same tokens, the same ends, the same log-probabilities."""
    model, _, engine = parts
    if model.config.tie_word_embeddings:
        pytest.skip("the shipped student is untied")
    with torch.no_grad():
        for name, weight in student_model.state_dict().items():
            model.state_dict()[name][: len(weight)] = weight  # the padding keeps what it has
    engine.sync(4)
    ours = engine.generate(PROBLEMS, Sampling(1, 0.0, cap, 0))
    theirs = HFRollout(student_model, tokenizer, [1]).generate(PROBLEMS, Sampling(1, 0.0, cap, 0))
    assert [r.response_ids for r in ours] == [r.response_ids for r in theirs]
    assert [r.finish_reason for r in ours] == [r.finish_reason for r in theirs]
    assert {r.finish_reason for r in ours} == ({"length"} if cap == 5 else {"eos"})
    assert {r.policy_version for r in ours} == {4}
    for a, b in zip(ours, theirs, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=EXACT)


def test_log_probabilities_are_those_at_temperature_1(parts):
    """Sampled at another temperature they still are the model's own."""
    _, _, engine = parts
    hot, cold = (engine.generate(PROBLEMS[:4], Sampling(1, t, 8, 0)) for t in (1.7, 0.0))
    hf = HFRollout(engine.model, engine.tokenizer, [1])
    for rollouts in (hot, cold):
        for rollout in rollouts:
            ids = torch.tensor([rollout.prompt_ids + rollout.response_ids])
            with torch.no_grad():
                logits = hf.model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1, :101]
            expected = logits.log_softmax(-1).gather(-1, ids[0, len(rollout.prompt_ids) :, None])[:, 0]
            assert rollout.logprobs == pytest.approx(expected.tolist(), abs=EXACT)


def test_vllms_own_way_leaves_a_tied_head_stale(parts, tokenizer):
    """What this engine is built around: should this fail, vLLM has fixed it, and the override can go."""
    model, folder, _ = parts
    if not model.config.tie_word_embeddings:
        pytest.skip("untied models are reloaded whole")
    naive = vllm.VLLMRollout(make_engine(str(folder), "float32", OPTIONS, 0.3, 128, 101), model, tokenizer, [1])
    trained(model)
    weights = dict(model.named_parameters())
    naive.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
    naive.engine.reset_prefix_cache()
    assert naive.largest_gap(PROBLEMS, 40) > 100 * EXACT


def test_an_engine_that_does_not_follow_is_refused(parts, tokenizer, monkeypatch):
    model, folder, _ = parts
    monkeypatch.setattr(vllm.VLLMRollout, "sync", lambda self, version: None)  # the dummy weights stay
    with pytest.raises(RequestError, match="cannot be kept in step"):
        vllm.load(str(folder), model, tokenizer, (1,), "float32", 128, OPTIONS, PROBLEMS[:2])


def test_a_gap_that_is_no_number_is_no_small_gap(parts):
    """What an engine full of NaN would answer."""
    model, _, engine = parts
    fake = vllm.VLLMRollout(engine.engine, model, engine.tokenizer, [1])
    fake.generate = lambda problems, sampling: [
        replace(r, logprobs=(float("nan"),) * len(r.response_ids)) for r in engine.generate(problems, sampling)
    ]
    assert not fake.largest_gap(PROBLEMS[:2], 4) < 1
