"""Which model a path means; what is kept of an evaluation and when it is made again."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from tests.compose import composed
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.evaluation.__main__ import request_of
from tgpo.evaluation.examine import EvaluationPlan, plan, run_eval_sets
from tgpo.evaluation.locate import locate
from tgpo.evaluation.results import save_table, table
from tgpo.models.loading import TINY_ROOT

TASK = ["task.eval_two_terms=5", "task.eval_more_terms=6", "student.path=tiny:teacher", "output_dir=unused"]


def make_run(folder, *steps: int):
    folder.mkdir()
    (folder / "config.yaml").write_text("task: {of: the run}\n")
    for step in steps:
        shutil.copytree(TINY_ROOT / "teacher", folder / "checkpoints" / f"step-{step}" / "model")
    return folder


def test_every_way_to_name_a_checkpoint(tmp_path):
    run = make_run(tmp_path / "run", 9, 10)
    newest = run / "checkpoints" / "step-10"
    for given in (run, newest, newest / "model"):
        found = locate(str(given))
        assert found.model == str(newest / "model")
        assert found.run == run
        assert found.run_config() == {"task": {"of": "the run"}}
        assert found.slug == "run-step-10"
    assert locate(str(run / "checkpoints" / "step-9")).model.endswith("step-9/model")
    for given in ("tiny:teacher", str(TINY_ROOT / "teacher"), "Qwen/Qwen3-0.6B"):
        assert (locate(given).model, locate(given).run, locate(given).run_config()) == (given, None, {})
    assert locate("tiny:teacher").slug == "tiny-teacher"
    assert locate("Qwen/Qwen3-0.6B").slug == "Qwen-Qwen3-0.6B"


def test_a_run_without_a_checkpoint(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "checkpoints" / ".step-1.partial").mkdir(parents=True)
    with pytest.raises(RequestError, match="no complete checkpoint"):
        locate(str(run))


def test_options_of_a_task_that_is_the_runs_own(tmp_path):
    """They would be of the default task otherwise, and so would the problems."""
    run = make_run(tmp_path / "run", 10)
    with pytest.raises(RequestError, match=r"max_bad_fraction=0\.1: the task is that of .*run; .* give task= too"):
        request_of([f"checkpoint={run}", "task.max_bad_fraction=0.1"])
    request, _, _ = request_of(["checkpoint=tiny:teacher", "task=chain_sum", "task.eval_size=7"])
    assert len(request.task.eval_problems()) == 7


def test_a_run_is_sampled_as_it_was(tmp_path):
    """An 8,192-token run judged at the default's 96 would have another accuracy than its own last evaluation."""
    run = make_run(tmp_path / "run", 10)
    request = check(composed("output_dir=unused", "rollout.max_response_length=40", "eval.temperature=0.5"))
    (run / "config.yaml").write_text(yaml.safe_dump(request.resolved))

    def asked(*words: str) -> tuple[int, float]:
        options = request_of([f"checkpoint={run}", *words])[0].options.eval
        return options.max_response_length, options.temperature

    assert asked() == (40, 0.5)
    assert asked("eval.max_response_length=50") == (50, 0.5)
    assert asked("eval=greedy") == (96, 0)  # asked for


def ready(*overrides: str) -> EvaluationPlan:
    return plan(check(composed(*TASK, *overrides)))


def evaluated(ready: EvaluationPlan, folder) -> tuple[list, list[str], list[tuple]]:
    said, told = [], []
    results = run_eval_sets(ready, folder, lambda *what: told.append(what), said.append)
    return results, said, told


def test_what_is_done_is_kept_and_what_would_differ_is_made_again(tmp_path):
    first, said, told = evaluated(ready(), tmp_path)
    assert (said, told) == ([], [("arithmetic", 11, 11)])
    written = (tmp_path / "arithmetic.json").stat().st_mtime_ns
    again, said, told = evaluated(ready(), tmp_path)
    assert again == json.loads(json.dumps(first))
    assert (said, told) == ([f"arithmetic: already in {tmp_path}"], [])
    assert (tmp_path / "arithmetic.json").stat().st_mtime_ns == written
    for change, key in [
        ("task.eval_seed=1", "source"),
        ("seed=1", "seed"),
        ("eval.samples_per_problem=2 eval.temperature=1", "samples"),
        ("eval.max_response_length=20", "max_response_length"),
        ("student.path=tiny:large-gap", "weights"),
    ]:
        _, said, told = evaluated(ready(*change.split()), tmp_path)
        assert said == [f"arithmetic: made again, the one in {tmp_path} has another '{key}'"]
        assert told
        evaluated(ready(), tmp_path)


def test_other_weights_under_the_same_path_are_noticed(tmp_path):
    model = shutil.copytree(TINY_ROOT / "teacher", tmp_path / "model")
    evaluated(ready(f"student.path={model}"), tmp_path)
    shutil.copy(TINY_ROOT / "large-gap" / "model.safetensors", model / "model.safetensors")
    _, said, _ = evaluated(ready(f"student.path={model}"), tmp_path)
    assert "has another 'weights'" in said[0]


def test_the_responses_are_those_that_were_counted(tmp_path):
    (found,), _, _ = evaluated(ready("eval.samples_per_problem=3", "eval.temperature=1.0"), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "arithmetic.jsonl").read_text().splitlines()]
    assert len(lines) == 33
    assert found["metrics"]["accuracy"] == sum(line["reward"] for line in lines) / 33
    assert found["metrics"]["length_mean"] == sum(line["length"] for line in lines) / 33
    assert len({line["problem"] for line in lines}) == 11
    for key, interval in found["intervals"].items():
        assert interval is None or interval[0] <= found["metrics"][key] <= interval[1]


def made(name: str, accuracy: float, public: bool = True, **chances: float) -> dict:
    metrics = {"accuracy": accuracy, "length_mean": 12.3, "truncated_fraction": 0.25, "avg@1": accuracy}
    chances = {key.replace("pass", "pass@"): value for key, value in chances.items()}
    intervals = {"accuracy": None if accuracy == 1 else [accuracy - 0.1, accuracy + 0.1]}
    return {"name": name, "public": public, "problems": 10, "samples": 4, "metrics": metrics | chances,
            "intervals": intervals}  # fmt: skip


def test_the_table():
    results = [made("own", 0.9, public=False, pass1=0.9), made("a", 0.5, pass1=0.5, pass2=0.6), made("b", 1.0)]
    header, _, own, first, second, mean = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(results, "github").splitlines()
    ]
    assert header == ["benchmark", "problems", "samples", "accuracy", "pass@2", "length", "truncated"]
    assert own == ["own", "10", "4", "0.900 [0.800, 1.000]", "", "12", "0.25"]
    assert first == ["a", "10", "4", "0.500 [0.400, 0.600]", "0.600", "12", "0.25"]
    assert second[3] == "1.000"
    assert mean[:4] == ["mean", "", "", "0.750"]  # of the public ones
    assert "mean" not in table(results[:2], "github")


def test_the_files_of_a_table(tmp_path):
    save_table(tmp_path, "tiny:teacher", [made("a", 0.5)], {"seed": 0})
    assert "Checkpoint `tiny:teacher`." in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "evaluation.json").read_text())["benchmarks"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["eval.max_response_length=2000"], "eval.max_response_length=2000 exceed the 1024 positions of tiny:teacher"),
        (["student.path=/no/such/model"], "checkpoint=/no/such/model: no such folder"),
        (["student.path=tiny:teecher"], "did you mean 'teacher'?"),
        (["train.device=tpuu"], "not a device"),
    ],
)
def test_refused_before_a_model_loads(overrides, words):
    with pytest.raises(RequestError) as caught:
        ready(*overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_a_chat_template(tmp_path):
    model = shutil.copytree(TINY_ROOT / "teacher", tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    with pytest.raises(RequestError, match=f"checkpoint={model}: its tokenizer needs a chat template"):
        ready(f"student.path={model}")
