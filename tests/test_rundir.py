"""A run's folder: one run's alone, and right whatever the clock does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import records
from tests.parts import driven, small
from tgpo.errors import RequestError, StoppedError, writing
from tgpo.runs.directory import RunDirectory
from tgpo.runs.files import write_whole
from tgpo.runs.jsonl import JsonLines


def claimed(path: Path) -> bool:
    try:
        RunDirectory(path).create({}, {})
    except RequestError as error:
        assert "already holds a run" in str(error)
        return False
    return True


def test_of_runs_that_begin_in_one_second_one_has_the_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        for trial in range(20):
            assert sum(pool.map(claimed, [tmp_path / str(trial)] * 8)) == 1


def test_others_may_read_a_run(tmp_path):
    RunDirectory(tmp_path).create({}, {})
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("config.yaml", "provenance.json")}
    (tmp_path / "any").touch()
    assert modes == {(tmp_path / "any").stat().st_mode & 0o777}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any", "config.yaml", "provenance.json"]


@pytest.fixture
def backwards(monkeypatch) -> Iterator[None]:
    """A clock that is set back an hour whenever it is read."""
    hours = count()
    monkeypatch.setattr(time, "time", lambda: 1.7e9 - 3600 * next(hours))
    yield


def test_a_clock_that_jumps_back_makes_no_time_negative(backwards, tmp_path):
    assert time.time() > time.time()
    run = tmp_path / "run"
    parts = small("train.steps=2", "task.eval_two_terms=2", "task.eval_more_terms=2")
    assert list(driven(parts, run)) == [1, 2]
    files = RunDirectory(run)
    time.sleep(0.01)
    files.status("done", 2)
    timings = json.loads((run / "status.json").read_text())["timings"]
    assert timings["updated"] < timings["started"]
    assert 0.01 <= timings["seconds"] < 60
    times = [value for record in records(run) for name, value in record.items() if name.startswith("time/")]
    assert len(times) > 8
    assert all(0 <= value < 60 for value in times)


def full(path: Path) -> Path:
    """/dev/full takes nothing: each write to it is a full disk."""
    path.symlink_to("/dev/full")
    return path


def test_a_full_disk_is_told_with_its_path(tmp_path):
    with pytest.raises(StoppedError, match=r"metrics\.jsonl: the disk is full; make room"):
        JsonLines(full(tmp_path / "metrics.jsonl")).write({"step": 1})
    full(tmp_path / ".status.json.partial")
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(StoppedError, match=r"status\.json: the disk is full; make room"):
        write_whole(tmp_path / "status.json", "x" * 10_000)
    assert (tmp_path / "status.json").read_text() == "{}"


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), writing(tmp_path):
        raise PermissionError(13, "Permission denied")


def test_records_are_whole_lines_in_order(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for sitting in range(2):
        lines = JsonLines(path)
        for step in range(3):
            lines.write({"step": 3 * sitting + step, "text": "é\u2028" * 100, "x": float("nan")})
        lines.close({}, failed=False)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [record["step"] for record in found] == list(range(6))
    assert all(record["x"] is None for record in found)
