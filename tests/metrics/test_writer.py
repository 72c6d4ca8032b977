from __future__ import annotations

import json

from tgpo.metrics.terminal import PlainView, summary
from tgpo.metrics.writer import JsonLines, Writer
from tgpo.rundir import drop_after


def test_lines_are_json_whatever_the_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = Writer([JsonLines(path)])
    writer.write({"step": 1, "a": float("nan"), "b": float("inf"), "c": "ü"})
    writer.close({})
    assert json.loads(path.read_text()) == {"step": 1, "a": None, "b": None, "c": "ü"}


def test_records_after_a_step_are_dropped_with_a_half_written_last_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step}) for step in (0, 1, 2, 2, 3)]
    path.write_text("\n".join(lines) + '\n{"step": 4, "lo')
    drop_after(path, 2)
    assert path.read_text().splitlines() == lines[:4]
    drop_after(path, 7)
    assert path.read_text().splitlines() == lines[:4]


def test_the_line_for_people_leaves_out_what_was_not_measured(capsys):
    assert summary({"reward/mean": 0.5, "gradient/norm": 1.234}) == "reward 0.50  |grad| 1.23"
    view = PlainView(100)
    for step in range(1, 101):
        view.show(step, {"reward/mean": 0.5})
    assert len(capsys.readouterr().out.splitlines()) == 21


def test_wandb_out_of_reach_logs_offline_and_a_resumed_run_keeps_its_id(tmp_path, monkeypatch, capsys):
    """A key, but a server that does not answer: a port of this machine nobody listens on."""
    from tests.wandb_reader import history
    from tgpo.metrics.writer import WandbSink, run_id

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sink = WandbSink(tmp_path, "p", None, "g", "n", ["t"], {"a": 1})
    sink.write({"kind": "train", "step": 1, "x": 2.5})
    sink.close({"x": 2.5})
    assert "logging offline" in capsys.readouterr().out
    (row,) = history(tmp_path)
    assert row["x"] == 2.5
    assert sink.run.id == f"{run_id(tmp_path)}-offline"
    assert run_id(tmp_path) == (tmp_path / "wandb_id").read_text()
    assert not any("k" * 40 in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
