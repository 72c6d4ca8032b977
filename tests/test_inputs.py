"""What a run reads by path is known by its contents: other rows behind the same path are seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import called
from tgpo.config.inputs import SAMPLE, SAMPLED_ABOVE, contents, digests
from tgpo.models.loading import TINY_ROOT


def rows(path: Path, count: int, answer: int | None = None) -> Path:
    lines = [{"question": f"{i}+1", "answer": str(i + 1 if answer is None else answer)} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_path_of_a_configuration_has_a_digest(tmp_path):
    files = {name: rows(tmp_path / name, 3 + i) for i, name in enumerate(("task", "held-out", "bench", "template"))}
    config = {
        "task": {"path": str(files["task"]), "eval_path": str(files["held-out"])},
        "eval": {"benchmarks": {"mine": {"path": str(files["bench"])}}},
        "student": {"path": "tiny:large-gap", "chat_template": str(files["template"])},
        "teacher": {"path": str(TINY_ROOT / "teacher")},
        "demonstrations": {"path": None},
    }
    found = digests(config)
    assert set(found) == {
        "task.path", "task.eval_path", "eval.benchmarks.mine.path", "student.path", "student.chat_template",
        "teacher.path",
    }  # fmt: skip
    assert len(set(found.values())) == 6
    config["teacher"] = {"path": "tiny:teacher"}
    assert digests(config) == found
    rows(files["bench"], 5, answer=1)
    assert {key for key, digest in digests(config).items() if digest != found[key]} == {"eval.benchmarks.mine.path"}


def test_a_renamed_file_of_a_folder_is_another_content(tmp_path):
    rows(tmp_path / "a.jsonl", 3)
    before = contents(tmp_path)
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    assert contents(tmp_path) != before


@pytest.mark.parametrize("place", [0, -1])
def test_large_weights_are_known_by_their_ends(tmp_path, place):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(SAMPLED_ABOVE + SAMPLE)  # sparse: it takes no room
    before = contents(tmp_path)
    with path.open("r+b") as file:
        file.seek(place, 0 if place == 0 else 2)
        file.write(b"x")
    assert contents(tmp_path) != before


@pytest.mark.slow
def test_a_run_does_not_go_on_over_other_rows_in_silence(tmp_path):
    run, path = tmp_path / "run", rows(tmp_path / "rows.jsonl", 24)
    options = [
        "task=local", f"task.path={path}", "task.prompt_column=question", "task.answer_column=answer",
        "task.eval_size=4", "train.steps=2", "eval.every=2", "train.checkpoint_every=2", "rollout.prompts_per_batch=2",
        "rollout.max_response_length=16", f"output_dir={run}",
    ]  # fmt: skip
    assert called(*options).returncode == 0
    began = json.loads((run / "provenance.json").read_text())["inputs"]["task.path"]
    rows(path, 12, answer=1)
    more = [f"resume={run}", "train.steps=3"]
    for refused in (called(f"resume={run}"), called(*more, "rollout.temperature=0.9")):
        assert refused.returncode == 2
    assert f"task.path: {began} -> " in called(f"resume={run}").stderr
    process = called(*more, "resume_with_changes=true")
    assert process.returncode == 0, process.stderr
    resumed = json.loads((run / "provenance.json").read_text())["resumed"][-1]
    assert resumed["changes"]["task.path"] == [began, resumed["inputs"]["task.path"]]
    assert called(f"resume={run}").returncode == 0  # it has read those now
