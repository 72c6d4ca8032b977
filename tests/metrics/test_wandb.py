"""What W&B is given, read back from its offline files."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import wandb

from tests.wandb_reader import history, kept, summary
from tgpo.metrics.wandb import Home, WandbSink, log_sweep_report, run_id, server_problem

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


@pytest.fixture
def refusing():
    """A server that answers every request with 401, as W&B does for a wrong key."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(401)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_that_is_out_of_reach_or_refuses_leaves_an_offline_run(
    answers, refusing, tmp_path, monkeypatch, capsys
):
    """Nothing listens on port 9. After a refusal wandb reserves the id, and the offline run gets another."""
    monkeypatch.setenv("WANDB_BASE_URL", refusing if answers else "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sink = WandbSink(tmp_path, HOME, "n", ["t"], {"a": 1})
    sink.write({"kind": "train", "step": 1, "x": 2.5})
    sink.close({"x": 2.5}, failed=False)
    assert "logging offline" in capsys.readouterr().out
    (row,) = history(tmp_path)
    assert row["x"] == 2.5
    assert sink.run.id == run_id(tmp_path) + ("-offline" if answers else "")
    assert nothing_holds_the_key(tmp_path)


def test_the_server_is_reached_through_a_proxy(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.invalid")
    monkeypatch.setenv("no_proxy", "")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert server_problem() is None
    assert "127.0.0.1 does not answer" in (server_problem() or "")
