"""What two distributions say of each other, against sums written out in plain Python floats (float64)."""

from __future__ import annotations

import math

import pytest
import torch

from tests.divergence.options import options
from tgpo.divergence.rows import RowStatistics

# student and teacher, two states; their orders of the tokens differ
P = [[0.5, 0.2, 0.15, 0.1, 0.05], [0.01, 0.09, 0.3, 0.2, 0.4]]
Q = [[0.1, 0.45, 0.05, 0.3, 0.1], [0.02, 0.08, 0.35, 0.25, 0.3]]
EOS = [1, 4]
K = 2


def rows(p, q, eos=EOS, **changes):
    statistics = RowStatistics(options(**{"topk": K, "overlap_at": [1, 3], "coverage_at": [2, 3], **changes}), eos)
    student, teacher = (torch.tensor(x, dtype=torch.float64).log() for x in (p, q))
    return dict(zip(statistics.names, statistics(student, teacher).unbind(-1), strict=True))


def best(p, k):
    return sorted(range(len(p)), key=lambda v: -p[v])[:k]


def by_hand(p, q):
    vocabulary, own, theirs = range(len(p)), best(p, K), best(q, K)
    p_own, q_own, q_best = sum(p[v] for v in own), sum(q[v] for v in own), sum(q[v] for v in theirs)
    return {
        "reverse_kl": sum(p[v] * math.log(p[v] / q[v]) for v in vocabulary),
        "forward_kl": sum(q[v] * math.log(q[v] / p[v]) for v in vocabulary),
        "student_entropy": -sum(x * math.log(x) for x in p),
        "teacher_entropy": -sum(x * math.log(x) for x in q),
        "reverse_kl_topk": sum(p[v] / p_own * math.log(p[v] / p_own / (q[v] / q_own)) for v in own),
        "reverse_kl_topk_part": sum(p[v] * math.log(p[v] / q[v]) for v in own),
        "student_topk_mass": p_own,
        "teacher_at_student_topk_mass": q_own,
        "forward_kl_topk": sum(q[v] / q_best * math.log(q[v] / q_best / p[v]) for v in theirs),
        "student_eos": sum(p[v] for v in EOS),
        "teacher_eos": sum(q[v] for v in EOS),
        **{f"overlap@{k}": len({*best(p, k)} & {*best(q, k)}) / k for k in (1, 3)},
        **{f"teacher_coverage@{k}": sum(q[v] for v in best(q, k)) for k in (2, 3)},
        **{f"student_coverage@{k}": sum(p[v] for v in best(q, k)) for k in (2, 3)},
    }


def test_golden():
    found = rows(P, Q)
    for i in range(len(P)):
        expected = by_hand(P[i], Q[i])
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            # overlaps are counted in float32
            assert found[name][i].item() == pytest.approx(value, rel=1e-7 if "overlap" in name else 1e-12), name
    # a few by head: the student's mass of the teacher's two best, and overlaps of 0 and 2 of 3
    assert found["student_coverage@2"][0].item() == pytest.approx(0.2 + 0.1)
    assert found["overlap@1"].tolist() == [0.0, 0.0]
    assert found["overlap@3"].tolist() == pytest.approx([2 / 3, 1.0])


def test_of_a_distribution_from_itself():
    found = rows(P, P)
    for name in ("reverse_kl", "forward_kl", "reverse_kl_topk", "reverse_kl_topk_part"):
        assert found[name].tolist() == pytest.approx([0.0, 0.0], abs=1e-15)
    assert found["overlap@1"].tolist() == found["overlap@3"].tolist() == [1.0, 1.0]
    assert found["student_entropy"].tolist() == found["teacher_entropy"].tolist()
    assert found["student_coverage@2"].tolist() == found["teacher_coverage@2"].tolist()


def test_a_k_beyond_the_vocabulary_is_all_of_it():
    found = rows(P, Q, topk=50, overlap_at=[1000], coverage_at=[1000])
    for name in ("student_topk_mass", "teacher_at_student_topk_mass", "teacher_coverage@1000", "student_coverage@1000"):
        assert found[name].tolist() == pytest.approx([1.0, 1.0], rel=1e-12)
    assert found["overlap@1000"].tolist() == [1.0, 1.0]
    for name in ("reverse_kl_topk", "reverse_kl_topk_part"):
        assert found[name].tolist() == pytest.approx(found["reverse_kl"].tolist(), rel=1e-12)
    assert found["forward_kl_topk"].tolist() == pytest.approx(found["forward_kl"].tolist(), rel=1e-12)


def test_a_token_the_student_never_gives():
    found = rows([[0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5]], eos=[2])
    assert found["reverse_kl"].item() == pytest.approx(math.log(2))
    assert found["student_entropy"].item() == pytest.approx(math.log(2))
    assert found["forward_kl"].item() == math.inf
