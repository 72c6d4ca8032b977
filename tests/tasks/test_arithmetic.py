from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgpo.tasks.arithmetic import Arithmetic, evaluate, expressions, is_held_out


@given(st.lists(st.integers(10, 99), min_size=1, max_size=6), st.data())
def test_value_is_the_sum(numbers, data):
    signs = [data.draw(st.sampled_from((1, -1))) for _ in numbers[1:]]
    text = str(numbers[0]) + "".join(f"{'+' if s > 0 else '-'}{n}" for s, n in zip(signs, numbers[1:], strict=True))
    assert evaluate(text) == numbers[0] + sum(s * n for s, n in zip(signs, numbers[1:], strict=True))


def test_training_never_meets_a_held_out_problem():
    held_out = {problem.prompt for problem in Arithmetic().eval_problems()}
    assert len(held_out) == 192
    assert all(map(is_held_out, held_out))
    for seed in range(3):
        for step in range(50):
            assert not any(is_held_out(p.prompt) for p in Arithmetic().train_problems(seed, step, 16))


def test_the_tiny_models_never_met_one_either():
    """They are trained on the same side of the same split."""
    stream = expressions(random.Random("teacher/1"), (2, 3, 4), held_out=False)
    assert not any(is_held_out(next(stream)) for _ in range(5_000))


def test_evaluation_is_fixed_and_training_is_a_function_of_seed_and_step():
    assert Arithmetic().eval_problems() == Arithmetic().eval_problems()
    task = Arithmetic()
    assert task.train_problems(1, 2, 8) == task.train_problems(1, 2, 8)
    assert task.train_problems(1, 2, 8) != task.train_problems(1, 3, 8)
    assert task.train_problems(1, 2, 8) != task.train_problems(2, 2, 8)


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="min_terms"):
        Arithmetic(min_terms=4, max_terms=3)
