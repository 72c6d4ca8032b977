"""Five of the kills of `make crash-test`; two of them in `make test`."""

from __future__ import annotations

import pytest

from tests.e2e.crash import VARIANTS, torment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "aims"),
    [
        ("tgpo", ["checkpoint", "rollout"]),
        pytest.param("luffy", ["demonstrations", "evaluation"], marks=pytest.mark.long),
        pytest.param("tgpo adaptive", ["update"], marks=pytest.mark.long),
    ],
)
def test_a_killed_run_writes_what_an_undisturbed_one_does(name, aims, tmp_path):
    hits = torment(tmp_path, VARIANTS[name], len(aims), seed=0, aims=aims)
    assert sum(hits.values()) == len(aims)
