"""From problems to ids and from ids to text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tgpo.models.loading import load_tokenizer
from tgpo.rollout.base import decode_responses
from tgpo.tasks.answers import judge
from tgpo.types.problem import Problem, Rollout

PROBLEM = Problem("p", "1+1", "2", "arithmetic")


@pytest.fixture
def thinking():
    """A tokenizer in which `</think>` is a special token, as in several families."""
    special = load_tokenizer("tiny:teacher")
    special.add_special_tokens({"additional_special_tokens": ["</think>"]})
    return special


def rollout(ids: list[int], finish: str) -> Rollout:
    return Rollout(PROBLEM, 0, (0,), tuple(ids), None, "student", finish, 0)  # pyright: ignore[reportArgumentType]


def test_a_special_token_that_the_reward_reads_is_in_the_text(thinking):
    written = r"it is two</think>\boxed{2}"
    ids = thinking(written, add_special_tokens=False).input_ids
    assert thinking.convert_tokens_to_ids("</think>") in ids
    ended = rollout([*ids, thinking.eos_token_id], "eos")
    assert decode_responses(thinking, [ended, rollout(ids, "length")]) == [written, written]
    assert judge(["2"], decode_responses(thinking, [ended]), require_boxed=True, require_think_end=True).values == [1.0]


def test_only_the_end_is_left_out(tokenizer):
    end = tokenizer.eos_token_id
    five = tokenizer("5").input_ids[0]
    ended = rollout([five, end], "eos")
    cut = replace(ended, finish_reason="length")
    assert decode_responses(tokenizer, [ended, cut, rollout([], "length")]) == ["5", f"5{tokenizer.eos_token}", ""]
