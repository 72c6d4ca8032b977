from __future__ import annotations

import json

from tests.report.made import make_run
from tgpo.report.arms import arms_of
from tgpo.report.comparison import read_sweep
from tgpo.report.find import find_runs


def labels(folder) -> dict[str, str]:
    return {name: arm.label for name, arm in arms_of(find_runs([folder])[0])[0].items()}


def test_seeds_do_not_make_arms_and_places_neither(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "tgpo", seed, overrides=(f"output_dir=x{seed}", f"logger={seed}"))
        make_run(tmp_path, "rkl", seed)
    assert labels(tmp_path) == {"tgpo_0": "tgpo", "tgpo_1": "tgpo", "rkl_0": "rkl", "rkl_1": "rkl"}


def test_an_objective_whose_options_differ_is_told_by_them_and_the_others_are_not(tmp_path):
    for i, weight in enumerate((0.0, 0.5)):
        more = {"objective.weight": weight}
        make_run(tmp_path, "tgpo", overrides=(f"objective.weight={weight}",), more=more, name=f"w{i}")
    make_run(tmp_path, "rkl")
    assert labels(tmp_path) == {"w0": "tgpo weight=0", "w1": "tgpo weight=0.5", "rkl_0": "rkl"}


def test_runs_that_read_different_rows_by_one_path_are_different_arms(tmp_path):
    for seed, digest in ((0, "aaaa"), (1, "aaaa"), (2, "bbbb")):
        run = make_run(tmp_path, seed=seed, more={"task.path": "rows.jsonl"})
        (run / "provenance.json").write_text(json.dumps({"inputs": {"task.path": digest, "teacher.path": "same"}}))
    make_run(tmp_path, seed=3, more={"task.path": "rows.jsonl"})  # of an older version, which recorded none
    found = labels(tmp_path)
    assert found["tgpo_0"] == found["tgpo_1"] == "digest=aaaa"
    assert found["tgpo_2"] == "digest=bbbb"


def test_numbers_are_ordered_by_size(tmp_path):
    for size in (16, 4, 8):
        make_run(tmp_path, more={"rollout.group_size": size}, overrides=(f"rollout.group_size={size}",), name=str(size))
    arms = read_sweep([tmp_path]).arms
    assert [arm.label for arm in arms] == ["group_size=4", "group_size=8", "group_size=16"]


def test_an_option_that_differs_without_an_override_makes_arms_too(tmp_path):
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, more={"train.steps": 8})
    assert sorted(labels(tmp_path).values()) == ["steps=4", "steps=8"]


def test_threads_make_an_arm_only_where_they_are_asked_for(tmp_path):
    make_run(tmp_path / "a", seed=0, more={"train.threads": 1})
    make_run(tmp_path / "a", seed=1, more={"train.threads": 2})
    assert set(labels(tmp_path / "a").values()) == {"tgpo"}
    make_run(tmp_path / "b", seed=0, more={"train.threads": 1}, overrides=("train.threads=1",))
    make_run(tmp_path / "b", seed=1, more={"train.threads": 2}, overrides=("train.threads=2",))
    assert set(labels(tmp_path / "b").values()) == {"threads=1", "threads=2"}


def test_a_run_of_an_older_version_stays_in_its_arm_and_is_named(tmp_path):
    import yaml

    make_run(tmp_path, seed=0)
    path = make_run(tmp_path, seed=1) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["overrides"], config["choices"], config["objective"]["weight"]
    path.write_text(yaml.safe_dump(config))
    arms, notes = arms_of(find_runs([tmp_path])[0])
    assert arms["tgpo_1"] == arms["tgpo_0"]
    (note,) = notes
    assert note.names == ("tgpo_1",)
    assert note.text == "from an older version, without choices, objective.weight, overrides"


def test_an_objective_of_the_same_name_in_two_students_has_two_contexts(tmp_path):
    for student in ("small", "large"):
        for objective in ("grpo", "tgpo"):
            make_run(tmp_path / student, objective, student=student, overrides=(f"student={student}",))
    sweep = read_sweep([tmp_path])
    assert {arm: baseline.label for arm, baseline in sweep.baselines.items()} == {
        "grpo student=large": "grpo student=large", "grpo student=small": "grpo student=small",
        "tgpo student=large": "grpo student=large", "tgpo student=small": "grpo student=small",
    }  # fmt: skip


def test_a_student_a_seed_is_one_arm_and_two_students_of_a_seed_are_two(tmp_path):
    for seed in (0, 1):
        own = {"student.path": f"multirun/distil/{seed}_seed={seed}/checkpoints/step-40/model"}
        make_run(tmp_path / "one", "grpo", seed, more=own)
        make_run(tmp_path / "one", "grpo", seed, student="distilled", more=own, name=f"after_{seed}")
        for step in (40, 80):
            more = {"student.path": f"runs/{seed}/step-{step}"}
            make_run(tmp_path / "two", "grpo", seed, more=more, name=f"{step}_{seed}")
        make_run(tmp_path / "sizes", "grpo", seed, more={"student.path": "tiny:1b"})
    assert set(labels(tmp_path / "one").values()) == {"student=distilled", "student=large-gap"}
    assert len(set(labels(tmp_path / "two").values())) == 4  # which path is whose cannot be told: kept apart
    assert len(set(labels(tmp_path / "sizes").values())) == 1


def test_the_only_arm_of_the_baseline_is_not_that_of_another_students_arms(tmp_path):
    make_run(tmp_path, "grpo", student="near")
    make_run(tmp_path, "tgpo", student="near")
    make_run(tmp_path, "tgpo", student="far", name="far")
    sweep = read_sweep([tmp_path])
    found = {arm: baseline.label for arm, baseline in sweep.baselines.items()}
    assert found == {"grpo": "grpo", "tgpo student=near": "grpo"}
    assert set(read_sweep([tmp_path], baseline="grpo").baselines) == {*found, "tgpo student=far"}  # asked for
