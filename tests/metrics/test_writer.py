from __future__ import annotations

import json

import pytest

from tgpo.metrics.terminal import PlainView, summary
from tgpo.metrics.writer import Writer
from tgpo.runs.jsonl import JsonLines, drop_after


def test_lines_are_json_whatever_the_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Writer([JsonLines(path)]) as writer:
        writer.write({"step": 1, "a": float("nan"), "b": float("inf"), "c": "ü"})
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


class Broken:
    def write(self, record):
        pass

    def attach(self, report):
        pass

    def close(self, summary, failed):
        raise OSError("disk full")


def test_one_place_that_cannot_be_closed_leaves_no_other_open(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match="disk full"), Writer([lines, Broken()]):
        pass
    with pytest.raises(ValueError, match="closed file"):
        lines.write({"step": 1})
