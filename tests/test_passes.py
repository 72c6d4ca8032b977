"""Passes side by side: the order of answers, errors, and that a step is the same step."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from tests.parts import small
from tgpo.runtime.parallel_map import ParallelMap
from tgpo.types.teacher import TeacherQuery


def test_answers_come_in_order_whoever_ends_first():
    def slower_first(i):
        time.sleep((5 - i) * 0.01)
        return i

    assert list(ParallelMap(3).map(slower_first, range(6))) == list(range(6))


def test_no_more_answers_exist_than_promised():
    begun, most = [], 0
    for taken, _ in enumerate(ParallelMap(2).map(begun.append, range(50))):
        time.sleep(0.002)  # were they not held back, all would have begun by now
        most = max(most, len(begun) - taken)
    assert most <= 3


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(ParallelMap(2).map(lambda i: 1 / (i - 2), range(6)))


def test_each_thread_has_one_core_and_the_caller_keeps_its_own():
    before = torch.get_num_threads()
    seen = set(ParallelMap(2).map(lambda _: (torch.get_num_threads(), threading.get_ident()), range(20)))
    assert {threads for threads, _ in seen} == {1}
    assert threading.get_ident() not in {ident for _, ident in seen}
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["tgpo", "gkd", "rkl"])
def test_a_step_is_the_same_step(objective):
    """To the last bit: each pass takes one core either way, and sums keep their order."""
    options = [
        f"objective={objective}",
        "train.threads=1",
        "train.max_tokens_per_micro_batch=200",
        "train.max_logits=5000",
    ]
    one, several = (small(*options, f"train.passes_at_once={n}").trainer for n in (1, 3))
    for k in (1, 2):
        (first, _), (second, _) = one.step(k), several.step(k)
        timeless = [
            {n: v for n, v in r.items() if n.split("/")[0] not in ("time", "throughput", "memory")}
            for r in (first, second)
        ]
        assert timeless[0] == timeless[1]
    for a, b in zip(one.parameters, several.parameters, strict=True):
        assert torch.equal(a, b)


def test_a_teacher_answers_the_same():
    parts = [
        small("train.threads=1", "train.max_tokens_per_micro_batch=150", f"train.passes_at_once={n}") for n in (1, 3)
    ]
    tokens = parts[0].trainer.collector.collect(1, parts[0].trainer.objective, 0).batch.tokens
    first, second = (
        p.trainer.collector.panel.members[0].teacher.score(tokens, TeacherQuery(topk=3, full=True)) for p in parts
    )
    for name in ("sampled_logprobs_BT", "topk_ids_BTK", "topk_logprobs_BTK", "hidden_BTH"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_checkpointing_takes_one_at_a_time():
    assert small("train.gradient_checkpointing=true", "train.passes_at_once=3").trainer.parallel.at_once == 1
    assert small("train.passes_at_once=3").trainer.parallel.at_once == 3
