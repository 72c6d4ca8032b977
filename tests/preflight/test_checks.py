"""What can be known to be wrong before a model loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compose import composed
from tests.preflight.requests import edit, refused
from tgpo.config.check import check
from tgpo.errors import ProblemsError
from tgpo.models.loading import load_model, resolve
from tgpo.preflight.checks import inspect_all, preflight
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.tasks.demonstrations import write
from tgpo.tiny.solutions import teacher_style
from tgpo.types.problem import Rollout


def test_the_default_passes():
    preflight(check(composed("output_dir=unused")))


def test_a_teacher_that_is_needed_and_not_there():
    assert "needs a teacher" in refused("teacher=none")
    assert "needs a teacher" in refused("objective=rkl", "teacher=none")
    preflight(check(composed("output_dir=unused", "objective=grpo", "teacher=none")))


def test_groups_of_one():
    assert "rollout.group_size=1" in refused("rollout.group_size=1")
    preflight(check(composed("output_dir=unused", "objective=rkl", "rollout.group_size=1")))


def test_another_tokenizer_is_refused_by_its_first_different_id(copied):
    text = (copied / "tokenizer.json").read_text()
    (copied / "tokenizer.json").write_text(text.replace('"a": 15', '"@": 15').replace('"@": 88', '"a": 88'))
    message = refused(f"teacher.path={copied}")
    assert "id 15 is 'a' for tiny:large-gap and '@'" in message


def test_the_same_tokenizer_padded_to_another_width_works(copied):
    """A head with more columns than the tokenizer has tokens, as Qwen2.5-7B's against 1.5B's."""
    model = load_model(str(copied), "float32", "cpu")
    model.resize_token_embeddings(128)
    model.save_pretrained(copied)
    preflight(check(composed("output_dir=unused", f"teacher.path={copied}")))


def test_a_head_too_narrow_for_the_tokenizer(copied):
    model = load_model(str(copied), "float32", "cpu")
    model.resize_token_embeddings(50)
    model.save_pretrained(copied)
    assert "its head has 50 columns for 101 tokens" in refused(f"student.path={copied}")


def test_weights_that_are_not_safetensors(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    assert "safetensors" in refused(f"student.path={copied}")


def test_a_model_that_is_not_here():
    assert "hf download Qwen/Qwen2.5-7B" in refused("teacher.path=Qwen/Qwen2.5-7B")
    assert "did you mean 'large-gap'" in refused("student.path=tiny:large-gab")


def test_another_end_of_response(copied):
    edit(copied / "tokenizer_config.json", eos_token="<|unknown|>")
    assert "end a response differently" in refused(f"teacher.path={copied}")


def test_too_long_for_the_model(copied):
    """The option that is named is the one that decides, and the teacher has to read no more than rollouts."""
    assert "rollout.max_response_length=1020 and the prompt of arithmetic/" in (
        message := refused("rollout.max_response_length=1020")
    )
    assert "the 1024 positions of student.path=tiny:large-gap; use at most 10" in message
    assert refused("eval.max_response_length=1020").startswith("eval.max_response_length=1020 and")
    edit(copied / "config.json", max_position_embeddings=300)
    assert "the 300 positions of teacher.path=" in refused(f"teacher.path={copied}", "rollout.max_response_length=290")
    preflight(check(composed("output_dir=unused", f"teacher.path={copied}", "eval.max_response_length=500")))


@pytest.mark.parametrize("device", ["cuda:99", "tpuu", "meta", "mps"])
def test_devices(device):
    assert f"train.device={device}" in refused(f"train.device={device}")


def test_names_of_shipped_models():
    assert Path(resolve("tiny:teacher")).is_dir()
    assert resolve("some/model") == "some/model"


def test_a_model_with_code_of_its_own(copied):
    edit(copied / "config.json", auto_map={"AutoModelForCausalLM": "evil.Model"})
    assert "code of its own" in refused(f"student.path={copied}")


def test_a_model_of_an_unknown_kind(copied):
    edit(copied / "config.json", model_type="no_such_architecture")
    assert "student.path" in refused(f"student.path={copied}")


def test_a_folder_without_a_tokenizer(copied):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    assert "no tokenizer there" in refused(f"teacher.path={copied}")


def test_a_shard_that_is_missing(copied):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in refused(f"student.path={copied}")


def test_more_of_the_top_than_there_are_tokens():
    assert "the vocabulary has 101 tokens" in refused("metrics.topk=500")


def test_demonstrations_that_fill_the_group():
    assert "with no rollout beside them" in refused("objective=luffy", "objective.demonstrations=8")


def test_a_server_does_not_write_demonstrations():
    message = refused("objective=sft", "teacher.backend=server", "server.urls=['http://127.0.0.1:9']")
    assert "does not write" in message


@pytest.fixture
def shown(tmp_path, tokenizer):
    """A right demonstration of each problem of the first two steps, seed 0."""

    def respond(problems, part):
        texts = [teacher_style(problem.prompt) for problem in problems]
        ids = [(*tokenizer(text).input_ids, tokenizer.eos_token_id) for text in texts]
        return [Rollout(p, 0, (), i, None, "student", "eos", 0) for p, i in zip(problems, ids, strict=True)], texts

    task = Arithmetic()
    write(tmp_path, [p for k in (1, 2) for p in task.train_problems(0, k, 16)], respond, task.rewards, 1, {})
    return f"demonstrations.path={tmp_path}"


def test_given_demonstrations_are_looked_at(shown):
    run = ["objective=luffy", "train.steps=2", shown]
    preflight(check(composed("output_dir=unused", *run)))
    assert "0 of the first 32 problems have one; they are of another task or seed" in refused(*run, "seed=1")
    assert "0 of the first 32 problems" in refused(*run, "task=chain_sum")
    assert "tokens and rollout.max_response_length is 10" in refused(*run, "rollout.max_response_length=10")


def test_a_teacher_that_ends_as_the_student_does_may_write_whatever_is_said_of_others():
    preflight(check(composed("output_dir=unused", "objective=sft", "teacher.other_eos=ignore")))


@pytest.mark.parametrize("asked", ["rollout=vllm", "teacher.backend=vllm"])
def test_vllm_that_is_missing_or_another(asked, monkeypatch):
    monkeypatch.setattr("tgpo.models.vllm.find_spec", lambda _: None)
    assert f"{asked} needs vLLM, which is not installed; install it with: make setup-vllm" in refused(asked)
    monkeypatch.setattr("tgpo.models.vllm.find_spec", lambda _: "here")
    monkeypatch.setattr("tgpo.models.vllm.installed_version", lambda: "0.33.1")
    assert f"{asked} needs vLLM 0.32.x and this is 0.33.1" in refused(asked)


@pytest.mark.parametrize(
    ("objective", "need"),
    [
        ("gkd", "teacher_full"),
        ("fkl", "teacher_full"),
        ("rkl objective.estimator=centered", "teacher_at_student_topk"),
        ("tgpo objective.target=sample", "teacher_sample"),
    ],
)
def test_what_prompt_log_probabilities_cannot_answer(objective, need):
    name, *options = objective.split()
    words = refused(f"objective={name}", *options, "teacher.backend=server", "server.urls=['http://127.0.0.1:9']")
    assert f"asks for {need}" in words


def test_an_engine_with_too_little_room(monkeypatch):
    monkeypatch.setattr("tgpo.models.vllm.check_installed", lambda _: None)
    assert "vllm.max_model_len=50: the run needs" in refused("rollout=vllm", "vllm.max_model_len=50")


def test_every_problem_is_told_and_echoes_are_not():
    request = check(composed("output_dir=unused", "train.device=tpuu", "student.path=/no/such", "teacher=none"))
    with pytest.raises(ProblemsError) as caught:
        preflight(request)
    objective, device, student = caught.value.problems
    assert "needs a teacher" in objective
    assert "train.device=tpuu" in device
    assert "student.path=/no/such" in student
    rows = inspect_all(request)
    assert [row.state for row in rows[:4]] == ["problem"] * 3 + ["not looked at"]
    assert "student's tokenizer" in rows[3].text
    assert {row.state for row in rows[4:]} == {"in order"}


def test_the_default_is_in_order_throughout():
    assert {row.state for row in inspect_all(check(composed("output_dir=unused")))} == {"in order"}
