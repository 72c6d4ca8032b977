from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgpo.tasks.arithmetic import Arithmetic, evaluate, expressions, is_held_out, to_problem
from tgpo.tasks.verifier import last_boxed


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


def test_sums_of_one_kind_of_sign_have_the_share_of_minus_that_is_asked_for():
    task = Arithmetic(minus=0.2)
    trained = [p.extra["operation"] for step in range(100) for p in task.train_problems(0, step, 16)]
    assert set(trained) == {"plus", "minus"}
    # 1,600 draws: four standard errors are 0.04
    assert trained.count("minus") / len(trained) == pytest.approx(0.2, abs=0.04)
    held_out = [p.extra["operation"] for p in task.eval_problems()]
    assert held_out.count("minus") / len(held_out) == pytest.approx(0.5, abs=0.15)  # 192 draws, four standard errors
    assert all(is_held_out(p.prompt) for p in task.eval_problems())


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="min_terms"):
        Arithmetic(min_terms=4, max_terms=3)


@pytest.mark.parametrize(
    ("expression", "solution", "hint", "operation"),
    [
        ("37+85-12", r"37+85=122;122-12=110;\boxed{110}", "122,110", "both"),
        ("12-85-20", r"12-85=-73;-73-20=-93;\boxed{-93}", "-73,-93", "minus"),
        ("12+34", r"12+34=46;\boxed{46}", "46", "plus"),
    ],
)
def test_a_problem_brings_its_working(expression, solution, hint, operation):
    problem = to_problem(expression)
    assert problem.extra == {"solution": solution, "hint": hint, "operation": operation}
    assert (problem.prompt, last_boxed(solution)) == (expression, problem.answer)


def test_every_problem_has_the_same_texts():
    problems = [*Arithmetic().eval_problems(), *Arithmetic().train_problems(0, 1, 64)]
    for problem in problems:
        assert last_boxed(problem.extra["solution"]) == problem.extra["hint"].split(",")[-1] == problem.answer
    assert {problem.extra["operation"] for problem in problems} == {"plus", "minus", "both"}
