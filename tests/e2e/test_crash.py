"""Five of the kills of `make crash-test`."""

from __future__ import annotations

import pytest

from tests.e2e.crash import VARIANTS, torment

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "aims"),
    [
        ("tgpo", ["checkpoint", "rollout"]),
        ("luffy", ["demonstrations", "evaluation"]),
        ("tgpo adaptive", ["update"]),
    ],
)
def test_a_killed_run_writes_what_an_undisturbed_one_does(name, aims, tmp_path):
    hits = torment(tmp_path, VARIANTS[name], len(aims), seed=0, aims=aims)
    assert sum(hits.values()) == len(aims)
