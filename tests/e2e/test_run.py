"""Whole runs by the real command: files, names, determinism, W&B, checkpoints."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import command, records, untimed
from tests.wandb_reader import history

pytestmark = pytest.mark.slow

STEPS = 4
ARGUMENTS = [
    f"train.steps={STEPS}", "train.checkpoint_every=2", "train.keep_checkpoints=1", "eval.every=2",
    "rollout.prompts_per_batch=8", "metrics.rollout_samples_every=2", "seed=3",
]  # fmt: skip
LOSS = ["total", "policy_gradient", "teacher", "teacher_weight"]
REWARD = ["mean", "group_std", "solved_groups", "verifier_timeouts"]
RESPONSE = [
    "length_mean", "length_p95", "length_correct_mean", "length_incorrect_mean", "truncated_fraction",
    "repetition_fraction",
]  # fmt: skip
POLICY = ["entropy", "clip_fraction", "sampler_logprob_gap"]
DIVERGENCE = ["reverse_kl_k1", "mismatch", "topk_overlap", "teacher_perplexity"]
GRADIENT = ["norm", "variance", "snr", "noise_scale"]
TIME = ["rollout", "teacher", "update", "step"]
TRAIN_NAMES = ["step", "throughput/response_tokens_per_second", "memory/peak_bytes"] + [
    f"{group}/{name}"
    for group, names in {
        "loss": LOSS, "reward": REWARD, "response": RESPONSE, "policy": POLICY, "divergence": DIVERGENCE,
        "gradient": GRADIENT, "time": TIME,
    }.items()
    for name in names
]  # fmt: skip
EVAL_NAMES = [
    f"eval/arithmetic/{name}" for name in ("accuracy", "avg@1", "pass@1", "length_mean", "truncated_fraction")
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The same command twice; the first also logs to W&B."""
    folder = tmp_path_factory.mktemp("runs")
    first = command(*ARGUMENTS, "logger=wandb", f"output_dir={folder / 'a'}")
    second = command(*ARGUMENTS, f"output_dir={folder / 'b'}")
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    return first, folder / "a", folder / "b"


def test_ends_by_saying_what_came_out(finished):
    process, run, _ = finished
    lines = process.stdout.splitlines()[-3:]
    assert lines[0].startswith("base accuracy ")
    assert lines[1].startswith("final accuracy ")
    assert lines[2].split() == ["report", str(run / "report" / "report.html")]


def test_files_of_the_contract(finished):
    _, run, _ = finished
    for name in ("config.yaml", "provenance.json", "metrics.jsonl", "rollouts.jsonl", "status.json",
                 "report/report.html", "report/table.md", "report/accuracy.svg"):  # fmt: skip
        assert (run / name).is_file(), name
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-{STEPS}"]
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed"] == 3
    assert "${" not in (run / "config.yaml").read_text()
    provenance = json.loads((run / "provenance.json").read_text())
    assert {"command", "seed", "config_hash", "git", "versions", "hardware"} <= set(provenance)
    assert provenance["hardware"]["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_metric_names_of_the_contract(finished):
    _, run, _ = finished
    train, evaluation = records(run, "train"), records(run, "eval")
    assert [r["step"] for r in train] == [1, 2, 3, 4]
    assert [r["step"] for r in evaluation] == [0, 2, 4]
    for record in train:
        # the mean length of wrong (or right) responses is absent from a batch without any
        assert set(TRAIN_NAMES) - set(record) <= {"response/length_correct_mean", "response/length_incorrect_mean"}
    for record in evaluation:
        assert set(EVAL_NAMES) <= set(record)


def test_the_same_command_twice_gives_the_same_bytes(finished):
    _, a, b = finished

    assert json.dumps(untimed(a)) == json.dumps(untimed(b))
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    weights = f"checkpoints/step-{STEPS}/model/model.safetensors"
    assert (a / weights).read_bytes() == (b / weights).read_bytes()
    hashes = [json.loads((run / "provenance.json").read_text())["config_hash"] for run in (a, b)]
    assert hashes[0] == hashes[1]


def test_wandb_has_every_metric_of_every_step(finished):
    _, run, _ = finished
    logged = history(run)
    written = records(run)
    assert len(logged) == len(written)
    for row, record in zip(logged, written, strict=True):
        expected = {k: v for k, v in record.items() if k != "kind"}
        assert {k: row[k] for k in expected} == expected


def test_the_checkpoint_loads_as_any_model_does(finished, tokenizer):
    _, run, _ = finished
    folder = run / "checkpoints" / f"step-{STEPS}" / "model"
    from tgpo.tiny.measure import accuracy

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()
    final = records(run, "eval")[-1]
    assert accuracy(model, tokenizer).metrics["eval/arithmetic/accuracy"] == final["eval/arithmetic/accuracy"]


def test_rollout_samples(finished):
    _, run, _ = finished
    samples = [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    assert {s["step"] for s in samples} == {1, 2, 4}
    assert {"prompt", "response", "reward", "length", "finish_reason"} <= set(samples[0])


def test_the_report_needs_nothing_from_elsewhere_and_escapes_what_models_write(finished, tmp_path):
    _, run, _ = finished
    from tgpo.report.collect import read_run
    from tgpo.report.page import render

    page = (run / "report" / "report.html").read_text()
    assert " src=" not in page.split("<script>")[0]
    assert "<link" not in page
    files = read_run(run)
    files.rollouts[0]["response"] = "</script><script>alert(1)</script>"
    assert "<script>alert" not in render(files, [])


def test_a_run_is_never_written_over(finished):
    _, run, _ = finished
    before = (run / "metrics.jsonl").read_bytes()
    process = command(*ARGUMENTS, f"output_dir={run}")
    assert process.returncode == 2
    assert "already holds a run" in process.stderr
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_sweep_gives_each_job_a_folder_and_leaks_nothing_into_the_next(tmp_path):
    """The second job of a sweep is byte for byte the run that stands alone."""
    quick = ["train.steps=2", "rollout.prompts_per_batch=4", "eval.every=2"]
    sweep = command("-m", *quick, "objective=rkl,grpo", f"hydra.sweep.dir={tmp_path}/sweep")
    assert sweep.returncode == 0, sweep.stderr
    alone = command(*quick, "objective=grpo", f"output_dir={tmp_path}/alone")
    assert alone.returncode == 0, alone.stderr
    (second,) = (tmp_path / "sweep").glob("1_*")
    assert untimed(second) == untimed(tmp_path / "alone")
