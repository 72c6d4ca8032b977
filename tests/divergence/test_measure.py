"""The whole of the scoring against a naive forward pass, one response at a time, and what must not change it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.compose import composed
from tests.divergence.options import options
from tgpo.config.check import check
from tgpo.contexts.prompts import TeacherPrompts
from tgpo.contexts.solution import Solution
from tgpo.divergence.measure import Responses, choose, length_ratios, score
from tgpo.divergence.rows import RowStatistics
from tgpo.errors import RequestError
from tgpo.metrics.agreement import divergence_metrics
from tgpo.models.policy import Policy
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad, pad_logprobs
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.panel import Member, Panel
from tgpo.types.problem import Answered
from tgpo.types.teacher import TeacherQuery

EOS, PROMPTS, SAMPLES, CAP = 1, 6, 3, 36
# float32 forward passes of other shapes differ in the last digits; log-probabilities here reach -30
ROUNDING = {"rtol": 2e-4, "atol": 2e-4}


@pytest.fixture(scope="module")
def responses(student_model, tokenizer):
    problems = Arithmetic(eval_two_terms=2, eval_more_terms=PROMPTS - 2).eval_problems()
    rollouts = HFRollout(student_model, tokenizer, [EOS]).generate(problems, Sampling(SAMPLES, 1.0, CAP, 0))
    found = Responses(rollouts, np.arange(len(rollouts)) // SAMPLES)
    assert 0 < found.ended_B.sum() < len(rollouts)  # some reach the cap
    return found


def scored(responses, student, teacher, max_logits=2**24, max_tokens=10_000, prompts=None):
    vocabulary = 101
    policy, theirs = Policy(student, vocabulary, max_logits), HFTeacher(teacher, vocabulary, max_logits, max_tokens)
    panel, rows = Panel([Member("only", theirs, prompts)], vocabulary, 0), RowStatistics(options(), [EOS])
    answered = [Answered(r.problem, "", 0.0, r.group) for r in responses.rollouts]
    asked = panel.ask(answered, pad(responses.rollouts, 0))
    return score(responses, PROMPTS, policy, panel, asked, rows, max_tokens, lambda *_: None)


def means(counted):
    return {name: float(r.numerator_P.sum() / r.denominator_P.sum()) for name, r in counted.ratios.items()}


def same(one, other, **tolerance):
    assert one.ratios.keys() == other.ratios.keys()
    for name, expected in one.ratios.items():
        for ours, theirs in zip(expected, other.ratios[name], strict=True):
            np.testing.assert_allclose(ours, theirs, **tolerance, err_msg=name)
    for prompt in range(one.prompts):
        ours, theirs = (
            np.sort(c.pooled["log_ratio"].values_N[c.pooled["log_ratio"].prompt_N == prompt]) for c in (one, other)
        )
        np.testing.assert_allclose(ours, theirs, **tolerance)


def naive(model, rollout) -> np.ndarray:
    """Log-probabilities `[T,V]`, in float64 from the model's logits."""
    ids = torch.tensor([[*rollout.prompt_ids, *rollout.response_ids]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1, :101]
    return logits.double().log_softmax(-1).numpy()


def test_responses_without_a_text_are_left_out_and_the_others_scored_after_theirs(
    responses, student_model, teacher_model, tokenizer
):
    bare = {responses.rollouts[0].problem.id, responses.rollouts[-1].problem.id}
    stripped = [
        replace(r, problem=replace(r.problem, extra={})) if r.problem.id in bare else r for r in responses.rollouts
    ]
    prompts = TeacherPrompts(Solution(template="{problem} [{context}]"), tokenizer)
    part = scored(Responses(stripped, responses.prompt_B), student_model, teacher_model, prompts=prompts)
    kept = [i for i, r in enumerate(responses.rollouts) if r.problem.id not in bare]
    alone = Responses([responses.rollouts[i] for i in kept], responses.prompt_B[kept])
    same(part, scored(alone, student_model, teacher_model, prompts=prompts), **ROUNDING)
    assert part.without_text == len(responses.rollouts) - len(kept) == 2 * SAMPLES
    other = scored(alone, student_model, teacher_model)
    assert abs(means(part)["reverse_kl"] - means(other)["reverse_kl"]) > 0.1  # the prompt is what the teacher reads


def test_against_a_naive_forward_pass(responses, student_model, teacher_model):
    """Every token of every response by itself, its statistics written out; means over all of them."""
    tokens: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {"student_eos_at_end": [], "teacher_eos_at_end": []}
    before: dict[str, list[float]] = {"student_eos_before_end": [], "teacher_eos_before_end": []}
    for rollout in responses.rollouts:
        ours, theirs = naive(student_model, rollout), naive(teacher_model, rollout)
        for t, (p, q, a) in enumerate(zip(ours, theirs, rollout.response_ids, strict=True)):
            own, best = np.argsort(-p), np.argsort(-q)
            values = {
                "reverse_kl_k1": p[a] - q[a],
                "teacher_surprise": -q[a],
                "student_surprise": -p[a],
                "mismatch": float(a != best[0]),
                "reverse_kl": (np.exp(p) * (p - q)).sum(),
                "forward_kl": (np.exp(q) * (q - p)).sum(),
                "student_topk_mass": np.exp(p[own[:20]]).sum(),
                "reverse_kl_topk_part": (np.exp(p) * (p - q))[own[:20]].sum(),
                "overlap@1": float(own[0] == best[0]),
                "student_coverage@5": np.exp(p[best[:5]]).sum(),
                "student_coverage@1000": 1.0,
            }
            for name, value in values.items():
                tokens.setdefault(name, []).append(value)
            last = t == len(rollout.response_ids) - 1 and rollout.finish_reason == "eos"
            assert last == (a == EOS)
            for who, x in (("student", p), ("teacher", q)):
                kind, name = (ends, "at_end") if last else (before, "before_end")
                kind[f"{who}_eos_{name}"].append(math.exp(x[EOS]))
    counted = scored(responses, student_model, teacher_model)
    found = means(counted)
    for name, values in (tokens | ends | before).items():
        assert found[name] == pytest.approx(np.mean(values), rel=2e-4, abs=2e-6), name
    # and each token is its own prompt's
    prompt_N = np.repeat(responses.prompt_B, responses.length_B)
    sums_P, tokens_P = counted.ratios["reverse_kl_k1"]
    np.testing.assert_allclose(sums_P, np.bincount(prompt_N, tokens["reverse_kl_k1"]), rtol=2e-4)
    assert tokens_P.tolist() == np.bincount(prompt_N).tolist()
    pooled = counted.pooled["log_ratio"]
    np.testing.assert_allclose(np.bincount(pooled.prompt_N, pooled.values_N), sums_P, rtol=1e-5)
    assert len(ends["student_eos_at_end"]) == responses.ended_B.sum()


def test_they_are_the_numbers_of_a_run(responses, student_model, teacher_model):
    """What training logs for the same tokens, with the sampler's log-probabilities for the student's."""
    tokens = pad(responses.rollouts, 0)
    signal = HFTeacher(teacher_model, 101, 2**24, 10_000).score(tokens, TeacherQuery(topk=1))
    logged = divergence_metrics(
        tokens.response_BT, tokens.mask_BT, pad_logprobs(responses.rollouts, tokens.mask_BT), signal
    )
    found = means(scored(responses, student_model, teacher_model))
    assert found["reverse_kl_k1"] == pytest.approx(logged["divergence/reverse_kl_k1"], rel=1e-4)
    assert math.exp(found["teacher_surprise"]) == pytest.approx(logged["divergence/teacher_perplexity"], rel=1e-3)
    assert found["mismatch"] == pytest.approx(logged["divergence/mismatch"], rel=1e-6)


@pytest.mark.parametrize(("max_logits", "max_tokens"), [(101 * 7, 10_000), (2**24, 150), (101, 1)])
def test_neither_chunks_nor_parts_change_anything(
    responses, student_model, teacher_model, max_logits, max_tokens, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("tgpo.divergence.measure.PARTS", 1)  # all in one forward pass
        whole = scored(responses, student_model, teacher_model)
    same(scored(responses, student_model, teacher_model, max_logits, max_tokens), whole, **ROUNDING)


def test_the_order_of_the_prompts_changes_nothing(responses, student_model, teacher_model):
    order = np.random.default_rng(0).permutation(len(responses.rollouts))
    mixed = Responses([responses.rollouts[i] for i in order], responses.prompt_B[order])
    same(scored(mixed, student_model, teacher_model), scored(responses, student_model, teacher_model), **ROUNDING)


def padded(model, columns, value):
    """The same model with more rows in its tables, as wide models have them: its head gives those tokens `value`."""
    wider = copy.deepcopy(model)
    wider.resize_token_embeddings(model.config.vocab_size + columns, mean_resizing=False)
    with torch.no_grad():
        wider.get_output_embeddings().weight[model.config.vocab_size :] = value
    return wider


def test_padding_columns_change_nothing(responses, student_model, teacher_model):
    before = scored(responses, student_model, teacher_model)
    # columns that would take all the probability, of two widths; the same products otherwise
    after = scored(responses, padded(student_model, 27, 50.0), padded(teacher_model, 60, -50.0))
    same(after, before, rtol=1e-5, atol=1e-5)


def test_a_student_that_is_its_teacher(responses, student_model):
    counted = scored(responses, student_model, student_model)
    found = means(counted)
    for name in ("reverse_kl", "forward_kl", "reverse_kl_k1", "reverse_kl_topk", "reverse_kl_topk_part"):
        assert found[name] == pytest.approx(0, abs=1e-6), name  # rounding of float32 sums over the vocabulary
    assert [found[f"overlap@{k}"] for k in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert found["teacher_surprise"] == pytest.approx(found["student_surprise"], rel=1e-6)
    assert found["student_coverage@5"] == pytest.approx(found["teacher_coverage@5"], rel=1e-6)
    assert np.abs(counted.pooled["log_ratio"].values_N).max() < 1e-5


def test_perplexity_is_exp_of_the_entropy_where_that_is_exact(responses, student_model):
    """A head of zeros gives every token 1/V: each token's surprise is the entropy, log V."""
    uniform = copy.deepcopy(student_model)
    with torch.no_grad():
        uniform.get_output_embeddings().weight.zero_()
    found = means(scored(responses, uniform, uniform))
    for name in ("teacher_surprise", "student_surprise", "teacher_entropy", "student_entropy"):
        assert found[name] == pytest.approx(math.log(101), rel=1e-6)
    assert found["teacher_coverage@20"] == pytest.approx(20 / 101, rel=1e-5)
    assert found["teacher_eos_before_end"] == pytest.approx(1 / 101, rel=1e-5)


def test_a_broken_student_is_refused(responses, student_model, teacher_model):
    broken = copy.deepcopy(student_model)
    with torch.no_grad():
        broken.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(RequestError, match="student's log-probabilities are not finite"):
        scored(responses, broken, teacher_model)


def test_lengths(responses):
    ratios = length_ratios("student", responses, PROMPTS)
    mean, ended_mean, ended = (
        float(ratios[f"student/{name}"].numerator_P.sum() / ratios[f"student/{name}"].denominator_P.sum())
        for name in ("length_mean", "length_ended_mean", "ended_fraction")
    )
    rollouts = responses.rollouts
    lengths = [len(r.response_ids) for r in rollouts]
    stopped = [len(r.response_ids) for r in rollouts if r.finish_reason == "eos"]
    assert (mean, ended_mean) == (pytest.approx(np.mean(lengths)), pytest.approx(np.mean(stopped)))
    assert ended == len(stopped) / len(rollouts)
    assert ratios["student/length_mean"].numerator_P[1] == sum(lengths[SAMPLES : 2 * SAMPLES])


def test_problems_are_drawn_by_the_seed_each_once():
    request = check(composed("output_dir=unused"))
    some = choose(request, options(prompts=10))
    assert some == choose(request, options(prompts=10))
    assert some != choose(check(composed("output_dir=unused", "seed=1")), options(prompts=10))
    assert {p.prompt.count("+") + p.prompt.count("-") for p in some} > {1}  # not the first ten, which have two terms
    assert len(choose(request, options(prompts=10_000))) == len(request.task.eval_problems())
    training = choose(request, options(problems="training", prompts=10_000))
    assert len({p.id for p in training}) == len(training)
    assert not {p.id for p in training} & {p.id for p in request.task.eval_problems()}
