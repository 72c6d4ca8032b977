from __future__ import annotations

import pytest

from tgpo.errors import RequestError
from tgpo.tasks.reasoning_gym import ReasoningGym

CHAIN_SUM = {
    "dataset": "chain_sum",
    "options": {"min_terms": 2, "max_terms": 4, "min_digits": 2, "max_digits": 2},
    "question": "expression",
    "strip_spaces": True,
}


@pytest.mark.parametrize("settings", [CHAIN_SUM, {"dataset": "gsm_symbolic"}], ids=["chain_sum", "gsm_symbolic"])
def test_training_and_evaluation_are_disjoint_and_repeatable(settings):
    task = ReasoningGym(**settings, eval_size=32)
    held_out = {problem.prompt for problem in task.eval_problems()}
    assert len(held_out) == 32
    for step in range(8):
        problems = task.train_problems(0, step, 16)
        assert len(problems) == 16
        assert not held_out & {problem.prompt for problem in problems}
    assert task.train_problems(0, 3, 16) == task.train_problems(0, 3, 16)
    assert task.train_problems(0, 3, 16) != task.train_problems(0, 4, 16)


def test_rewards_use_the_generators_answer():
    task = ReasoningGym(**CHAIN_SUM, eval_size=8)
    problems = task.eval_problems()
    right = task.rewards(problems, [rf"\boxed{{{p.answer}}}" for p in problems])
    assert right.values == [1.0] * 8
    assert task.rewards(problems, [r"\boxed{100000}"] * 8).values == [0.0] * 8


def test_an_unknown_generator_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'chain_sum'"):
        ReasoningGym("chain_sums")


def test_too_few_problems_is_said():
    task = ReasoningGym(
        "chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, eval_size=5_000
    )
    with pytest.raises(RequestError, match="5000 wanted"):
        task.eval_problems()


@pytest.fixture
def spoiled(monkeypatch):
    """chain_sum with every `every`-th answer taken away."""
    import reasoning_gym

    create = reasoning_gym.create_dataset

    def spoil(every: int) -> None:
        def broken(*arguments, **options):
            for i, entry in enumerate(create(*arguments, **options)):
                yield {**entry, "answer": None if i % every == 0 else entry["answer"]}

        monkeypatch.setattr(reasoning_gym, "create_dataset", broken)

    return spoil


def test_a_few_entries_without_an_answer_are_named_and_skipped(spoiled, caplog):
    task = ReasoningGym(**CHAIN_SUM, eval_size=16, max_bad_fraction=0.1)
    spoiled(20)
    problems = task.train_problems(0, 1, 64)
    assert len(problems) == 64
    assert "None" not in {problem.answer for problem in problems}
    assert "row chain_sum/" in caplog.text


def test_too_many_entries_without_an_answer_are_refused(spoiled):
    task = ReasoningGym(**CHAIN_SUM, eval_size=16, max_bad_fraction=0.1)
    spoiled(3)
    with pytest.raises(RequestError, match=r"rows have no prompt or no answer.*task.max_bad_fraction \(now 0.1\)"):
        task.eval_problems()
