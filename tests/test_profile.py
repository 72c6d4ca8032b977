"""train.profile=true: the trace has the parts by name, and the table adds up to the wall clock."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.parts import driven, small
from tgpo.runtime.profile import Table

pytestmark = pytest.mark.slow

STEPS = 8
PARTS = {"rollout", "reward", "teacher", "update", "gradient_variance", "metrics", "logging", "idle"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = tmp_path_factory.mktemp("profiled") / "run"
    run.mkdir()
    tiny = [
        "task.eval_two_terms=2",
        "task.eval_more_terms=2",
        f"train.steps={STEPS}",
        f"eval.every={STEPS}",
        f"train.checkpoint_every={STEPS}",
    ]
    assert list(driven(small("train.profile=true", *tiny), run)) == list(range(1, STEPS + 1))
    return run / "profile"


def test_a_step_with_nothing_to_imitate_is_counted_too():
    table = Table()
    table.add({"time/step": 0.5}, {})
    assert (table.steps, set(table.seconds)) == (1, {"idle"})


def test_the_trace_holds_three_steps_with_their_parts_by_name(folder):
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    for part in PARTS - {"idle", "gradient_variance", "logging"}:
        assert names.count(f"tgpo.{part}") == 3, part
    assert any(event.get("cat") == "cpu_op" and event["name"] == "aten::mm" for event in events)


def test_the_parts_exclude_each_other_and_add_up(folder):
    table = json.loads((folder / "time.json").read_text())
    assert table["steps"] == STEPS - 4  # three traced, and the one in which the profiler warmed up
    assert PARTS | {"evaluation", "checkpointing"} == table["parts"].keys()
    assert sum(table["parts"].values()) == pytest.approx(table["seconds"])
    assert all(seconds >= 0 for seconds in table["parts"].values())
    assert table["parts"]["idle"] < 0.2 * table["seconds"]
    lines = (folder / "time.md").read_text().splitlines()
    assert any(line.startswith("| gradient variance |") for line in lines)


def test_without_it_nothing_is_written(tmp_path):
    next(driven(small("train.steps=1", "task.eval_two_terms=2", "task.eval_more_terms=2"), tmp_path))
    assert not (tmp_path / "profile").exists()
