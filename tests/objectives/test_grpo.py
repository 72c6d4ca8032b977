"""GRPO: its numbers by hand, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import ADVANTAGE, CAP, REFERENCE, evaluate
from tgpo.objectives.grpo import GRPO
from tgpo.types.problem import Need, Reduction


def claim(objective, world):
    """It climbs the probability of being right, and stays near the reference."""
    return world.minus_success(objective) + world.reference_part(objective)


def test_by_hand():
    expected = (-1.2 * ADVANTAGE - 1.0 * ADVANTAGE + 0.8 * ADVANTAGE) / 3
    assert evaluate(GRPO())[0] == pytest.approx(expected, rel=1e-12)
    without_std = (-1.2 - 1.0 + 0.8) * 0.5 / 3
    assert evaluate(GRPO(normalize_std=False))[0] == pytest.approx(without_std, rel=1e-12)
    by_sequence = (-1.1 + 0.8) * ADVANTAGE / 2
    assert evaluate(GRPO(reduction="sequence"))[0] == pytest.approx(by_sequence, rel=1e-12)


def test_dr_grpo_is_centred_and_divided_by_a_constant():
    assert evaluate(GRPO(variant="dr_grpo"))[0] == pytest.approx((-1.2 - 1.0 + 0.8) * 0.5 / (2 * CAP), rel=1e-12)


def test_dapo_clips_higher():
    dapo, grpo = GRPO(variant="dapo", clip_low=0.1), GRPO(clip_low=0.1, clip_high=0.1)
    assert evaluate(dapo)[1].token_means["policy/clip_fraction"].tolist() == [[0, 0], [1, 0]]
    assert evaluate(grpo)[1].token_means["policy/clip_fraction"].tolist() == [[1, 0], [1, 0]]


def test_an_option_given_wins_over_the_variants():
    objective = GRPO(variant="dr_grpo", reduction="token", clip_high=None)
    assert (objective.reduction, objective.normalize_std, objective.clip_high) == (Reduction.TOKEN, False, 0.2)


def test_reference_kl():
    """`pi_theta / pi_ref` at the three tokens: 0.6 / 0.3, 0.25 / 0.5, 0.4 / 0.8."""
    k3 = (0.5 - 1 + math.log(2)) + 2 * (2 - 1 - math.log(2))
    k2 = 3 * 0.5 * math.log(2) ** 2
    for options, expected in (({}, k3), ({"reference_kl_estimator": "k2"}, k2)):
        found, answer, _ = evaluate(GRPO(reference_kl=0.1, **options), reference_logprobs_BT=REFERENCE)
        assert found == pytest.approx(evaluate(GRPO())[0] + 0.1 * expected / 3, rel=1e-12)
        assert torch.where(REFERENCE < 0, answer.terms["reference"], 0).sum().item() == pytest.approx(expected)


def test_needs():
    assert GRPO().needs == {Need.REWARD, Need.OLD_LOGPROBS}
    assert GRPO(reference_kl=0.1).needs == GRPO().needs | {Need.REFERENCE_SAMPLED}


@pytest.mark.parametrize(
    "options",
    [{"clip_low": 0}, {"clip_low": 1.5}, {"clip_high": -1}, {"clip_high": float("nan")}, {"reduction": "mean"},
     {"variant": "gspo"}, {"klip": 1}, {"reference_kl": -1}, {"reference_kl_estimator": "k2"}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GRPO(**options)
