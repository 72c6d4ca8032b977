"""KD: each divergence by hand, the two KL divergences as limits of all, the moving target, and what it claims."""

from __future__ import annotations

import math

import pytest
import torch

from tests.objectives.by_hand import BATCH
from tgpo.functional.divergence import forward_kl, kl
from tgpo.objectives.gkd import GKD
from tgpo.objectives.kd import KD
from tgpo.types.problem import Need

OURS, THEIRS = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.75, 0.25]]).double().log()
FORWARD, REVERSE = kl(THEIRS, OURS).item(), kl(OURS, THEIRS).item()


def claim(objective, world):
    """The divergence in the states of both, each in its share of the responses, in probabilities."""
    ours, theirs, kind = world.ours_STV, world.theirs_STV, objective.kind
    if kind == "skew_fkl":
        mixture = objective.alpha * theirs + (1 - objective.alpha) * ours
        loss_STV = theirs * (theirs / mixture).log()
    elif kind == "skew_rkl":
        mixture = (1 - objective.alpha) * theirs + objective.alpha * ours
        loss_STV = ours * (ours / mixture).log()
    elif kind == "both":
        forward, reverse = theirs * (theirs / ours).log(), ours * (ours / theirs).log()
        loss_STV = (1 - objective.forward) * reverse + objective.forward * forward
    elif kind == "taid":
        power = ours.detach() ** (1 - objective.share[0]) * theirs ** objective.share[0]
        target = power / power.sum(-1, keepdim=True)
        loss_STV = target * (target / ours).log()
    else:
        a, b = objective.alpha, objective.beta
        if b == 0:
            loss_STV = theirs * (theirs / ours).log()
        elif a == 0:
            loss_STV = ours * (ours / theirs).log()
        else:
            ends = a / (a + b) * theirs ** (a + b) + b / (a + b) * ours ** (a + b)
            loss_STV = (ends - theirs**a * ours**b) / (a * b)
    loss_ST, share = loss_STV.sum(-1), objective.on_policy_fraction
    return share * world.on_own(loss_ST) + (1 - share) * world.on_theirs(loss_ST)


def stops_gradient(objective):
    return objective.kind == "taid"


def value(**options) -> float:
    return KD(**options).divergence(OURS, THEIRS).item()


def test_by_hand():
    theirs = [(0.75, 0.1 * 0.75 + 0.9 * 0.5), (0.25, 0.1 * 0.25 + 0.9 * 0.5)]
    assert value(kind="skew_fkl") == pytest.approx(sum(p * math.log(p / m) for p, m in theirs), rel=1e-12)
    ours = [(0.5, 0.9 * 0.75 + 0.1 * 0.5), (0.5, 0.9 * 0.25 + 0.1 * 0.5)]
    assert value(kind="skew_rkl") == pytest.approx(sum(p * math.log(p / m) for p, m in ours), rel=1e-12)
    assert value(kind="both", forward=0.3) == pytest.approx(0.7 * REVERSE + 0.3 * FORWARD, rel=1e-12)
    # alpha = beta = 1: half the squared distance
    assert value(kind="alpha_beta", alpha=1, beta=1) == pytest.approx((0.25**2 + 0.25**2) / 2, rel=1e-12)
    # at one half the target is in proportion to sqrt(1/2 3/4) and sqrt(1/2 1/4)
    high, low = math.sqrt(0.375), math.sqrt(0.125)
    first, second = high / (high + low), low / (high + low)
    expected = first * math.log(first / 0.5) + second * math.log(second / 0.5)
    assert value(kind="taid", share=(0.5, 0, 1)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"kind": "skew_fkl", "alpha": 0}, FORWARD),
        ({"kind": "skew_rkl", "alpha": 0}, REVERSE),
        ({"kind": "both", "forward": 1}, FORWARD),
        ({"kind": "both", "forward": 0}, REVERSE),
        ({"kind": "alpha_beta", "alpha": 1, "beta": 0}, FORWARD),
        ({"kind": "alpha_beta", "alpha": 0, "beta": 1}, REVERSE),
        ({"kind": "taid", "share": (1, 0, 1)}, FORWARD),
    ],
)
def test_the_two_kl_divergences_are_limits(options, limit):
    """The ends themselves, with the gradient of the same KL of `fkl` and `gkd`; near them, nearly so."""
    assert value(**options) == pytest.approx(limit, rel=1e-12)
    gradients = []
    reference = forward_kl if limit == FORWARD else GKD(beta=1).divergence
    for divergence in (KD(**options).divergence, reference):
        ours = OURS.clone().requires_grad_(True)
        # through the softmax, where a constant in the logits' gradient disappears
        gradients.append(torch.autograd.grad(divergence(ours.log_softmax(-1), THEIRS).sum(), ours)[0])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    if options["kind"] == "alpha_beta":
        near = {name: abs(options[name] - 1e-6) for name in ("alpha", "beta")}
        assert value(kind="alpha_beta", **near) == pytest.approx(limit, rel=1e-4)


@pytest.mark.parametrize("kind", ["skew_fkl", "skew_rkl", "both", "alpha_beta", "taid"])
def test_is_zero_where_they_agree_and_finite_where_one_rules_a_token_out(kind):
    divergence = KD(kind=kind).divergence
    assert divergence(THEIRS, THEIRS).item() == pytest.approx(0, abs=1e-12)
    certain = torch.tensor([[1.0, 0.0]]).double().log()
    for pair in ((certain, THEIRS), (THEIRS, certain)):
        ours = pair[0].clone().requires_grad_(True)
        loss = divergence(ours, pair[1]).sum()
        assert loss.isfinite()
        # a target that begins at the student keeps what the student has ruled out
        assert loss > 0 or (kind == "taid" and pair[0] is certain)
        assert torch.autograd.grad(loss, ours)[0].isfinite().all()


def test_the_target_moves_with_the_batches_and_comes_back_from_a_checkpoint():
    objective, other = KD(kind="taid", share=(0.5, 0.2, 0.8)), KD(kind="taid", share=(0.5, 0.2, 0.8))
    shares = []
    for _ in range(3):
        shares.append(objective.divergence.keywords["share"])
        objective.observe(BATCH)
    assert shares == pytest.approx([0.5, 0.7, 0.8])
    other.load_state_dict(objective.state_dict())
    assert other.divergence.keywords == objective.divergence.keywords
    assert KD().state_dict() == {}


def test_needs():
    assert KD().needs == {Need.TEACHER_FULL}
    assert KD(on_policy_fraction=0.5).needs == {Need.TEACHER_FULL, Need.DEMONSTRATION}


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.1},
        {"alpha": 1},
        {"alpha": 0.5, "kind": "taid"},
        {"beta": 0.5},
        {"forward": 0.5},
        {"share": (0.1, 0.1, 1.5), "kind": "taid"},
        {"alpha": 0, "beta": 0, "kind": "alpha_beta"},
        {"kind": "nope"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        KD(**options)
