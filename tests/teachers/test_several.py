"""Several teachers as a run has them: what each is, which problems are its own, and what is measured of each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.compose import composed
from tests.parts import small
from tests.preflight.requests import row
from tgpo.config.check import check
from tgpo.demonstrations.generate import demonstrate
from tgpo.rollout.base import encode_prompts
from tgpo.tasks.demonstrations import read
from tgpo.training.step_metrics import response_metrics
from tgpo.types.problem import Problem

SPECIALISTS = ["teachers=tiny-specialists", "objective=rkl"]


def request_of(*options):
    return check(composed("output_dir=unused", *options))


def collected_of(*options):
    trainer = small(*options).trainer
    return trainer.collector.collect(1, trainer.objective, 3), trainer.collector.panel


@pytest.fixture(scope="module")
def routed():
    return collected_of(*SPECIALISTS, "teachers.plus.context=solution")


def test_each_begins_with_what_is_said_of_all_and_has_its_own_beside_it():
    request = request_of(*SPECIALISTS, "teacher.extra_tokens=drop", "teachers.minus.extra_tokens=refuse")
    plus, minus = request.teachers
    assert (plus.section, plus.name, plus.options.path) == ("teachers.plus", "plus", "tiny:teacher-biased")
    assert (plus.options.extra_tokens, minus.options.extra_tokens) == ("drop", "refuse")
    assert request.options.teacher.name == "plus+minus"


def test_a_saved_configuration_gives_the_same_teachers():
    request = request_of(*SPECIALISTS, "teachers.plus.context=hint", "teachers.minus.weights=initial")
    again = check(request.resolved)
    assert [(t.section, t.options, t.context) for t in again.teachers] == [
        (t.section, t.options, t.context) for t in request.teachers
    ]
    assert again.resolved == request.resolved


@pytest.mark.slow
def test_each_problem_is_scored_by_its_own_teacher_which_reads_its_own_prompt(routed):
    collected, panel = routed
    own = {"plus": "teacher-biased", "minus": "teacher-biased-plus"}
    for number, name in enumerate(panel.names):
        context = ["teacher.context=solution"] if name == "plus" else []
        alone, _ = collected_of("objective=rkl", "task.minus=0.5", f"teacher.path=tiny:{own[name]}", *context)
        assert [r.response_ids for r in alone.rollouts] == [r.response_ids for r in collected.rollouts]
        rows = [i for i, rollout in enumerate(collected.rollouts) if rollout.problem.extra["operation"] == name]
        assert rows == (collected.asked.member_B == number).nonzero()[:, 0].tolist()
        assert rows
        # float32, in batches of other shapes
        found, expected = (c.observed.sampled_logprobs_BT[rows] for c in (collected, alone))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_context_of_its_own_is_read_by_that_teacher_alone(routed):
    collected, panel = routed
    for rollout, (prompt, response) in zip(collected.rollouts, collected.asked.tokens.sequences(), strict=True):
        problem = rollout.problem
        text = f" [{problem.extra['solution']}]" if problem.extra["operation"] == "plus" else ""
        tokenizer = panel.members[0].prompts.tokenizer
        assert prompt == encode_prompts(tokenizer, [Problem("", problem.prompt + text, "", "")])[0]
        assert response == rollout.response_ids


@pytest.mark.slow
def test_what_is_measured_of_each_is_over_its_own_tokens(routed):
    collected, panel = routed
    numbers, mask_BT = response_metrics(collected), collected.batch.mask_BT
    gap_BT = collected.sampler_logprobs_BT - collected.observed.sampled_logprobs_BT
    whole = 0.0
    for number, name in enumerate(panel.names):
        rows = collected.asked.member_B == number
        share = mask_BT[rows].sum() / mask_BT.sum()
        found = (gap_BT * mask_BT)[rows].sum() / mask_BT[rows].sum()
        assert numbers[f"teacher/{name}/token_share"] == pytest.approx(share.item())
        assert numbers[f"teacher/{name}/reverse_kl_k1"] == pytest.approx(found.item(), rel=1e-5)  # float32 sums
        assert numbers[f"teacher/{name}/reward_mean"] == pytest.approx(collected.reward_B[rows].mean().item())
        whole += numbers[f"teacher/{name}/token_share"] * numbers[f"teacher/{name}/reverse_kl_k1"]
    assert whole == pytest.approx(numbers["divergence/reverse_kl_k1"], rel=1e-5)


@pytest.mark.slow
def test_a_starved_teacher_has_a_share_and_nothing_else(routed):
    """No token, so no divergence and no reward: absent, as every mean over nothing is."""
    collected, _ = routed
    nobody_is_minus = replace(
        collected, asked=replace(collected.asked, member_B=torch.zeros_like(collected.asked.member_B))
    )
    numbers = response_metrics(nobody_is_minus)
    assert numbers["teacher/minus/token_share"] == 0
    assert [name for name in numbers if name.startswith("teacher/minus/")] == ["teacher/minus/token_share"]


@pytest.mark.slow
def test_teachers_that_differ_in_what_they_read_alone_are_one_model():
    several = ["teacher.route=operation", "task.minus=0.5", "teachers.plus.context=solution", "teachers.minus.path="]
    several[-1] += "tiny:teacher"
    one, other = small(*several).trainer.collector.panel.members
    assert one.teacher is other.teacher
    assert (one.prompts is None) != (other.prompts is None)


def test_the_preflight_says_what_share_each_has_and_of_which_nothing_comes():
    assert row("routes", *SPECIALISTS).text == "1280 problems by operation: plus 50.6%, minus 49.4%"
    starved = row("routes", *SPECIALISTS, "task.minus=0")
    assert starved.state == "note"
    assert starved.text.endswith("plus 100.0%, minus 0.0%; some teach nothing")


@pytest.mark.slow
def test_demonstrations_are_written_by_each_problems_own_teacher(tmp_path):
    """Only together are the two specialists right about all sums: each is wrong wherever the other is right."""
    few = ["objective=sft", "task.minus=0.5", "train.steps=1", "rollout.prompts_per_batch=12"]
    asked, one = request_of(*few, *SPECIALISTS[:1]), request_of(*few, "teacher=tiny-biased")
    both, half = (demonstrate(r, tmp_path / str(i), lambda _: None) for i, r in enumerate((asked, one)))
    assert both.answered == both.problems == 12
    minus = [p for p in asked.task.train_problems(0, 1, 12) if p.extra["operation"] == "minus"]
    assert half.answered == 12 - len(minus)
    assert read(tmp_path / "0").of(minus[0])
