"""Presets of real sizes: one choice brings those that go with it, and what is written wins over all of them."""

from __future__ import annotations

import pytest

from tests.compose import composed, group_choices
from tgpo.config.check import check
from tgpo.options import RunOptions

TASK = "task=arithmetic"  # theirs is on the hub
REAL_STUDENTS = [name for name in group_choices("student") if not name.startswith("tiny")]
REAL_TEACHERS = [name for name in group_choices("teacher") if not name.startswith(("none", "tiny", "self"))]


def options(*overrides: str) -> RunOptions:
    return check(composed("output_dir=unused", TASK, *overrides)).options


@pytest.mark.parametrize("student", REAL_STUDENTS)
def test_a_student_brings_how_its_size_is_trained(student):
    found = options(f"student={student}", "teacher=none", "objective=grpo")
    assert (found.student.name, found.rollout.backend, found.train.dtype) == (student, "vllm", "bfloat16")
    assert (found.train.lr, found.train.device, found.train.gradient_checkpointing) == (1e-6, "cuda", True)
    assert found.metrics.gradient_variance_method == "sketch"


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("qwen-7b", "qwen2.5-1.5b-instruct"),
        ("qwen3-8b", "qwen3-1.7b-base"),
        ("qwen3-30b-a3b-thinking", "qwen3-1.7b-base"),
        ("deepseek-r1-distill-7b", "deepseek-r1-distill-1.5b"),
    ],
)
def test_a_teacher_brings_a_student_that_it_can_teach(teacher, student):
    found = options("objective=tgpo", f"teacher={teacher}")
    assert (found.teacher.name, found.student.name) == (teacher, student)
    assert found.objective["weight"] == [2e-3, 1e-5, 0.0]
    assert found.rollout.backend == "vllm"
    if teacher == "qwen-7b":  # 4,096 positions
        assert found.rollout.max_response_length == 3000


def test_every_real_teacher_is_tried():
    assert set(REAL_TEACHERS) == {"qwen-7b", "qwen3-8b", "qwen3-30b-a3b-thinking", "deepseek-r1-distill-7b"}


def test_it_brings_the_dataset_too():
    assert composed("output_dir=unused", "teacher=qwen-7b").task != composed("output_dir=unused").task


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("student=qwen2.5-math-1.5b", {"student.name": "qwen2.5-math-1.5b", "rollout.max_response_length": 3000}),
        ("student=tiny-peaked", {"student.name": "tiny-peaked", "train.lr": 1e-4, "train.dtype": "float32"}),
        ("train=tiny", {"train.lr": 1e-4, "train.dtype": "float32", "rollout.backend": "vllm"}),
        ("rollout=hf", {"rollout.backend": "hf", "rollout.max_response_length": 96, "train.lr": 1e-6}),
        ("scale=tiny", {"objective.weight": [0.5, 0.009375, 0.0]}),
        ("metrics=all", {"metrics.gradient_variance_method": "exact"}),
        ("objective=rkl", {"objective._target_": "tgpo.objectives.rkl.RKL", "train.lr": 1e-6}),
        ("train.lr=3e-5", {"train.lr": 3e-5, "train.dtype": "bfloat16"}),
        ("student.path=/mine", {"student.path": "/mine", "student.name": "qwen2.5-1.5b-instruct"}),
        ("rollout.max_response_length=512", {"rollout.max_response_length": 512}),
    ],
)
def test_what_is_written_wins_in_any_order(written, held, turned):
    pair = ["teacher=qwen-7b", written]
    found = options(*(reversed(pair) if turned else pair)).model_dump()
    for key, value in held.items():
        section, name = key.split(".")
        assert found[section][name] == value, key


@pytest.mark.parametrize(("size", "student"), [("1p5b", "Qwen/Qwen2.5-Math-1.5B"), ("7b", "Qwen/Qwen2.5-Math-7B")])
def test_the_papers_numbers(size, student):
    """Those of arXiv 2605.13230 and of its authors' scripts, written out once more."""
    found = options(f"experiment=paper_{size}")
    assert (found.student.path, found.teacher.path) == (student, "Qwen/Qwen3-30B-A3B-Thinking-2507")
    train, rollout = found.train, found.rollout
    assert (rollout.prompts_per_batch, rollout.group_size, rollout.prompts_per_batch // train.updates_per_batch) == (
        128, 8, 64,
    )  # fmt: skip
    assert (rollout.max_response_length, rollout.temperature) == (8192, 1.0)
    assert (train.lr, train.steps, train.max_grad_norm, train.entropy_bonus) == (1e-6, 300, 1.0, 0.001)
    objective = found.objective
    assert objective["_target_"].endswith("TGPO")
    assert (objective["weight"], objective["clip_low"], objective["target"]) == ([2e-3, 1e-5, 0.0], 0.2, "argmax")
    assert check(composed("output_dir=unused", TASK, f"experiment=paper_{size}")).objective.clip_high == 0.2
    assert (found.eval.every, found.eval.temperature) == (20, 0.6)
    assert (found.teacher.extra_tokens, found.teacher.other_eos, found.student.end_tokens) == ("drop", "ignore", [])
    assert found.student.config == {
        "max_position_embeddings": 16384,
        "rope_parameters": {"rope_type": "default", "rope_theta": 40000.0},
    }
    assert found.name == f"paper_{size}"


def test_an_experiment_gives_way_to_what_is_written():
    found = options("experiment=paper_7b", "teacher=qwen-7b", "train=tiny", "objective=kdrl", "seed=3")
    assert (found.teacher.name, found.student.name, found.train.lr) == ("qwen-7b", "qwen2.5-math-7b", 1e-4)
    assert (found.objective["beta"], found.seed) == (2e-3, 3)
