"""What W&B is given, read back from its offline files."""

from __future__ import annotations

import json

import pytest
import wandb

from tests.wandb_reader import history, kept, summary
from tgpo.metrics.wandb import Home, WandbSink, log_sweep_report, run_id

HOME = Home("project", None, "compare")
KEY = "k" * 40


def evaluated(step: int, accuracy: float) -> dict:
    return {"kind": "eval", "step": step, "eval/arithmetic/accuracy": accuracy}


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """W&B reads its environment once a process, and these tests change it."""
    yield
    wandb.teardown()


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report" / "report.html"
    path.parent.mkdir()
    path.write_text("<p>")
    (path.parent / "table.md").write_text("|")
    return path


def nothing_holds_the_key(folder) -> bool:
    return not any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_has_its_group_tags_axis_summary_and_report(tmp_path, report, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    sink = WandbSink(tmp_path, HOME, "objective=tgpo,seed=0", ["tgpo", "tiny", "large"], {"train": {"lr": 1e-4}})
    for record in (evaluated(0, 0.5), {"kind": "train", "step": 1, "loss/total": 2.0}, evaluated(1, 0.9)):
        sink.write(record)
    sink.write(evaluated(2, 0.7))
    sink.attach(report)
    sink.close({"step": 2, "loss/total": 2.0}, failed=False)

    (run,) = kept(tmp_path, "run")
    assert (run.project, run.run_group, run.job_type) == ("project", "compare", "train")
    assert (run.display_name, list(run.tags)) == ("objective=tgpo,seed=0", ["tgpo", "tiny", "large"])
    assert json.loads({item.key: item.value_json for item in run.config.update}["train"]) == {"lr": 1e-4}
    metrics = {m.name or m.glob_name: m for m in kept(tmp_path, "metric")}
    assert metrics["*"].step_metric == "step"
    curve = metrics["eval/arithmetic/accuracy"]
    assert (curve.step_metric, curve.summary.min, curve.summary.max, curve.summary.last) == ("step", True, True, True)
    assert [row["step"] for row in history(tmp_path)] == [0, 1, 1, 2]
    end = summary(tmp_path)
    assert [end[f"accuracy/{name}"] for name in ("base", "best", "final")] == [0.5, 0.9, 0.7]
    assert end["eval/arithmetic/accuracy"] == {"min": 0.5, "max": 0.9, "last": 0.7}
    (artifact,) = kept(tmp_path, "artifact")
    assert (artifact.type, artifact.name) == ("report", f"report-{sink.run.id}")
    assert {c.path for c in artifact.manifest.contents} == {"report.html", "table.md"}
    assert kept(tmp_path, "exit")[0].exit_code == 0
    assert nothing_holds_the_key(tmp_path)


def test_a_resumed_run_keeps_its_id_and_its_base(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "metrics.jsonl").write_text(json.dumps(evaluated(0, 0.5)) + "\n" + json.dumps(evaluated(1, 0.9)) + "\n")
    (tmp_path / "wandb_id").write_text("before")
    sink = WandbSink(tmp_path, HOME, "n", [], {})
    sink.write(evaluated(2, 0.7))
    sink.close({}, failed=True)
    assert sink.run.id == "before"
    end = summary(tmp_path)
    assert [end[f"accuracy/{name}"] for name in ("base", "best", "final")] == [0.5, 0.9, 0.7]
    assert kept(tmp_path, "exit")[0].exit_code == 1


def test_the_report_of_a_sweep_is_in_the_group_of_its_runs(tmp_path, report, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_sweep_report(tmp_path, HOME, report)
    (run,) = kept(tmp_path, "run")
    assert (run.run_group, run.job_type, run.display_name) == ("compare", "report", f"report of {tmp_path.name}")
    (artifact,) = kept(tmp_path, "artifact")
    assert artifact.name == f"sweep-report-{run_id(tmp_path)}"


@pytest.mark.slow
def test_out_of_reach_it_logs_offline_under_an_id_of_its_own(tmp_path, monkeypatch, capsys):
    """A key, but a server that does not answer: a port of this machine nobody listens on."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sink = WandbSink(tmp_path, HOME, "n", ["t"], {"a": 1})
    sink.write({"kind": "train", "step": 1, "x": 2.5})
    sink.close({"x": 2.5}, failed=False)
    assert "logging offline" in capsys.readouterr().out
    (row,) = history(tmp_path)
    assert row["x"] == 2.5
    assert sink.run.id == f"{run_id(tmp_path)}-offline"
    assert run_id(tmp_path) == (tmp_path / "wandb_id").read_text()
    assert nothing_holds_the_key(tmp_path)
