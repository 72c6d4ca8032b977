from __future__ import annotations

import pytest

from tgpo.functional.schedule import learning_rate, linear_decay


def test_the_teachers_weight_is_the_papers():
    assert linear_decay(1, 2e-3, 1e-5, 0.0) == 2e-3
    assert linear_decay(101, 2e-3, 1e-5, 0.0) == pytest.approx(1e-3)
    assert linear_decay(1000, 2e-3, 1e-5, 0.0) == 0.0


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_warm_up_then_the_kind(kind):
    rates = [learning_rate(k, 1.0, 4, 12, kind) for k in range(1, 13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(rate > 0 for rate in rates)
    if kind == "constant":
        assert rates[4:] == [1.0] * 8
    else:
        assert rates[3:] == sorted(rates[3:], reverse=True)
        assert rates[-1] < 0.15


def test_no_warm_up():
    assert learning_rate(1, 0.5, 0, 10, "constant") == 0.5
