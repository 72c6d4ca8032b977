"""Intervals by prompt against every resample there is, and with the prompts' own sameness planted."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.divergence.options import options
from tgpo.divergence.bootstrap import Bootstrap, Pooled, Ratio


@pytest.fixture
def prompts():
    """Six prompts of very different lengths, and their tokens: values that go with the prompt."""
    rng = np.random.default_rng(0)
    count_P = np.array([1, 3, 40, 7, 12, 2])
    prompt_N = np.repeat(np.arange(6), count_P)
    values_N = rng.normal(size=6)[prompt_N] * 3 + rng.normal(size=len(prompt_N))
    return count_P, prompt_N, values_N


def ratio(prompt_N, values_N, weights_N=None):
    weights_N = np.ones_like(values_N) if weights_N is None else weights_N
    count = prompt_N.max() + 1
    return Ratio(np.bincount(prompt_N, values_N * weights_N, count), np.bincount(prompt_N, weights_N, count))


def test_a_ratio_of_sums_against_all_resamples(prompts):
    count_P, prompt_N, values_N = prompts
    sums_P = np.bincount(prompt_N, values_N)
    every = [sum(sums_P[list(draw)]) / sum(count_P[list(draw)]) for draw in product(range(6), repeat=6)]
    (found,) = Bootstrap(6, 0, options(resamples=20_000)).ratios([ratio(prompt_N, values_N)])
    assert found.value == pytest.approx(values_N.mean())
    # of 46,656 resamples; the standard error of a 2.5 % quantile from 20,000 draws is 0.1 percentage points of rank
    low, high = np.quantile(every, [0.023, 0.027]), np.quantile(every, [0.973, 0.977])
    assert low[0] <= found.low <= low[1]
    assert high[0] <= found.high <= high[1]
    # resampling the 65 tokens as if they were independent would claim far more
    by_token = np.std(values_N) / np.sqrt(len(values_N)) * 2 * 1.96
    assert found.high - found.low > 2 * by_token


def test_percentiles_against_all_resamples(prompts):
    _, prompt_N, values_N = prompts
    tokens = [values_N[prompt_N == p] for p in range(6)]
    draws = list(product(range(6), repeat=6))[::7]  # every seventh: each holds the same shares of each prompt
    every = np.array([
        np.quantile(np.concatenate([tokens[p] for p in draw]), [0.05, 0.5, 0.99], method="inverted_cdf")
        for draw in draws
    ])  # fmt: skip
    found = Bootstrap(6, 0, options(resamples=5000)).percentiles(Pooled(values_N, prompt_N), [5, 50, 99])
    for i, q in enumerate((0.05, 0.5, 0.99)):
        assert found[i].value == np.quantile(values_N, q, method="inverted_cdf")
        # 5,000 and 6,666 draws: a quantile's rank has a standard error of 0.3 percentage points
        for end, (lowest, highest) in ((found[i].low, (0.012, 0.038)), (found[i].high, (0.962, 0.988))):
            below, above = np.quantile(every[:, i], [lowest, highest])
            assert below <= end <= above


@pytest.mark.parametrize("times", [2, 50])
def test_tokens_repeated_within_a_prompt_add_nothing(prompts, times):
    _, prompt_N, values_N = prompts
    more_N, again_N = np.repeat(prompt_N, times), np.repeat(values_N, times)
    for kind in ("ratios", "percentiles"):
        once, often = (
            Bootstrap(6, 0, options()).ratios([ratio(of, values)])
            if kind == "ratios"
            else Bootstrap(6, 0, options()).percentiles(Pooled(values, of), [50, 95])
            for of, values in ((prompt_N, values_N), (more_N, again_N))
        )
        np.testing.assert_allclose(once, often, rtol=1e-12)


def test_more_prompts_do_narrow_it(prompts):
    """The fault the test above would miss: an interval that nothing narrows."""
    _, prompt_N, values_N = prompts
    (few,) = Bootstrap(6, 0, options()).ratios([ratio(prompt_N, values_N)])
    copies = np.concatenate([prompt_N + 6 * i for i in range(25)])
    (many,) = Bootstrap(150, 0, options()).ratios([ratio(copies, np.tile(values_N, 25))])
    # 25 times the prompts, a fifth of the width; few is skewed, hence the room
    assert (many.high - many.low) / (few.high - few.low) == pytest.approx(1 / 5, rel=0.35)


def test_the_seed_decides_and_everything_shares_the_resamples(prompts):
    _, prompt_N, values_N = prompts
    one, two = ratio(prompt_N, values_N), ratio(prompt_N, 2 * values_N)
    first = Bootstrap(6, 0, options()).ratios([one, two])
    assert first == Bootstrap(6, 0, options()).ratios([one, two])
    assert first[0] != Bootstrap(6, 1, options()).ratios([one])[0]
    assert first[0] == Bootstrap(6, 0, options()).ratios([one])[0]
    np.testing.assert_allclose(first[1], 2 * np.array(first[0]), rtol=1e-12)


def test_memory_batches_change_nothing(prompts, monkeypatch):
    _, prompt_N, values_N = prompts
    whole = Bootstrap(6, 0, options()).ratios([ratio(prompt_N, values_N)])
    monkeypatch.setattr("tgpo.divergence.bootstrap.VALUES_AT_ONCE", 50)
    assert Bootstrap(6, 0, options()).ratios([ratio(prompt_N, values_N)]) == whole


def test_nothing_to_average():
    nothing = Ratio(np.zeros(3), np.zeros(3))
    rarely = Ratio(np.array([0.5, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))  # some resamples lack the one prompt
    never, seldom = Bootstrap(3, 0, options()).ratios([nothing, rarely])
    assert np.isnan(never).all()
    assert seldom.value == 0.5
    assert np.isnan([seldom.low, seldom.high]).all()
