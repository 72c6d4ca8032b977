"""`python -m tgpo.evaluation` and runs that are evaluated on benchmarks, by the real commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, called, records
from tests.hub import FIXTURES, use_caches

pytestmark = pytest.mark.slow

MODULE = "tgpo.evaluation"
OOD = [f"eval.benchmarks.{name}.{option}" for name in ("arc_challenge", "gpqa_diamond", "mmlu_pro")
       for option in (f"path={FIXTURES}/{name}", "size=10")]  # fmt: skip
SHORT = "eval.max_response_length=16"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    use_caches(tmp_path / "cache", monkeypatch)


def test_a_tiny_model_on_its_own_held_out_problems(tmp_path):
    output = tmp_path / "out"
    process = called("checkpoint=tiny:large-gap", f"output={output}", module=MODULE)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    found = json.loads((output / "evaluation.json").read_text())["benchmarks"][0]
    assert round(found["metrics"]["accuracy"], 3) == 0.635  # the base accuracy of the README
    assert "0.635 [" in process.stdout
    assert "0.635 [" in (output / "table.md").read_text()
    assert len((output / "arithmetic.jsonl").read_text().splitlines()) == 192


def test_a_runs_last_checkpoint_has_the_accuracy_that_the_run_measured(tmp_path):
    run, output = tmp_path / "run", tmp_path / "out"
    small = ["train.steps=2", "rollout.prompts_per_batch=4", "task=chain_sum", "task.eval_size=40"]
    assert called(*small, f"output_dir={run}").returncode == 0
    process = called(f"checkpoint={run}", f"output={output}", module=MODULE)
    assert process.returncode == 0, process.stderr
    found = json.loads((output / "evaluation.json").read_text())["benchmarks"][0]
    last = records(run, "eval")[-1]
    assert found["problems"] == 40  # the run's task and not the default one
    for key in ("accuracy", "length_mean", "truncated_fraction"):
        assert found["metrics"][key] == last[f"eval/chain_sum/{key}"]


def test_benchmarks_go_on_after_a_kill(tmp_path):
    output = tmp_path / "out"
    arguments = ["checkpoint=tiny:teacher", "eval=ood", *OOD, SHORT, f"output={output}"]
    program = [sys.executable, "-m", MODULE, *arguments]
    running = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "200"})
    deadline = time.monotonic() + 120
    while not (output / "arc_challenge.json").exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait(60)
    first = (output / "arc_challenge.json").stat().st_mtime_ns
    process = called(*arguments, module=MODULE)
    assert process.returncode == 0, process.stderr
    assert f"arc_challenge: already in {output}" in process.stdout
    assert (output / "arc_challenge.json").stat().st_mtime_ns == first
    whole = json.loads((output / "evaluation.json").read_text())
    assert [found["name"] for found in whole["benchmarks"]] == ["arc_challenge", "gpqa_diamond", "mmlu_pro"]
    assert "| mean " in (output / "table.md").read_text()


def test_a_run_is_evaluated_on_the_benchmarks_of_its_eval_group(tmp_path):
    run = tmp_path / "run"
    small = ["train.steps=2", "rollout.prompts_per_batch=4", "eval.every=1", "eval.benchmarks.arc_challenge.samples=4"]
    process = called("eval=ood", *OOD, SHORT, *small, f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    evaluations = records(run, "eval")
    assert [record["step"] for record in evaluations] == [0, 1, 2]
    for record in evaluations:
        names = {key.split("/")[1] for key in record if key.startswith("eval/")}
        assert names == {"arc_challenge", "gpqa_diamond", "mmlu_pro"}
        for key in ("accuracy", "avg@4", "pass@2", "pass@4", "length_mean", "truncated_fraction"):
            assert f"eval/arc_challenge/{key}" in record
        assert "eval/mmlu_pro/avg@1" in record


def test_a_run_learns_from_rows(tmp_path):
    rows, run = tmp_path / "sums.jsonl", tmp_path / "run"
    rows.write_text("".join(json.dumps({"q": f"{i}+{i + 7}", "a": 2 * i + 7}) + "\n" for i in range(10, 60)))
    local = ["task=local", f"task.path={rows}", "task.prompt_column=q", "task.answer_column=a", "task.eval_size=12"]
    process = called(*local, "train.steps=2", "rollout.prompts_per_batch=4", f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    assert records(run, "train")[0]["reward/mean"] > 0
    assert 0 < records(run, "eval")[-1]["eval/local/accuracy"] <= 1


def test_help_is_the_commands_own():
    process = called("--help", module=MODULE)
    assert process.returncode == 0
    assert "checkpoint=PATH" in process.stdout
