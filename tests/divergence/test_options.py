from __future__ import annotations

import pytest

from tests.divergence.options import defaults, options
from tgpo.divergence.request import check_options
from tgpo.errors import RequestError


def test_ks_are_put_in_order_once_each():
    assert options(coverage_at=[20, 5, 20]).coverage_at == [5, 20]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": 1}, "divergence.prompts=1"),
        ({"samples": 0}, "divergence.samples=0"),
        ({"topk": 0}, "divergence.topk=0"),
        ({"overlap_at": []}, "divergence.overlap_at="),
        ({"coverage_at": [5, 0]}, "divergence.coverage_at=0"),
        ({"problems": "test"}, "'held_out' or 'training'"),
        ({"resamples": 10}, "divergence.resamples=10"),
        ({"level": 100}, "divergence.level=100"),
        ({"top": 5}, "did you mean 'divergence.topk'?"),
    ],
)
def test_a_wrong_one_is_named(change, words):
    with pytest.raises(RequestError, match=words.replace("?", r"\?")) as caught:
        check_options(defaults() | change)
    assert "\n" not in str(caught.value)
