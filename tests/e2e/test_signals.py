"""Asked to stop at any moment, a run says that it was interrupted, and what it says of going on is true."""

from __future__ import annotations

import signal

import pytest

from tests.conftest import called, records
from tests.e2e.crash import OPTIONS, VARIANTS, attempt, check_same, check_whole, undisturbed
from tgpo.runs.directory import complete
from tgpo.runs.files import read_json

pytestmark = pytest.mark.slow

STEPS = 6
ASKED = [*OPTIONS, *VARIANTS["luffy"], f"train.steps={STEPS}"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    undisturbed(run, ASKED)
    return run


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("demonstrations", signal.SIGINT),
        ("demonstrations", signal.SIGTERM),
        ("loading", signal.SIGTERM),
        ("base evaluation", signal.SIGINT),
        ("rollout", signal.SIGTERM),
        ("evaluation", signal.SIGINT),
        ("checkpoint", signal.SIGTERM),
    ],
)
def test_it_stops_and_goes_on(phase, number, whole, tmp_path):
    run = tmp_path / "run"
    stopped = attempt(run, ASKED, phase, signals=[number])
    assert stopped.code == 130
    status, found = read_json(run / "status.json"), complete(run / "checkpoints")
    assert status["status"] == "interrupted"
    reached = max([r["step"] for r in records(run, "train")], default=0) if (run / "metrics.jsonl").exists() else 0
    assert [path.name for path in found[-1:]] == ([f"step-{reached}"] if reached else [])  # nothing is lost
    assert status["step"] == reached
    where = f"go on from step-{reached}" if reached else "there is no checkpoint yet, begin again"
    assert stopped.told.strip().splitlines() == [f"interrupted; {where} with: python run.py resume={run}"]
    check_whole(run)
    if phase in ("demonstrations", "evaluation"):
        assert attempt(run, ASKED).code == 0
        check_same(run, whole, STEPS)


INSIDE = 0.5  # seconds after the base evaluation: by then the first step has begun, which takes several
LONG = [*OPTIONS, "train.steps=2", "rollout.prompts_per_batch=128", "rollout.group_size=8"]


def test_a_second_sigint_stops_it_at_once(tmp_path):
    run = tmp_path / "run"
    stopped = attempt(run, LONG, "rollout", INSIDE, signals=[signal.SIGINT, signal.SIGINT])
    assert stopped.code == 130
    assert read_json(run / "status.json")["status"] == "interrupted"
    assert not records(run, "train")  # the step was not finished
    assert "there is no checkpoint yet, begin again with" in stopped.told
    assert "Traceback" not in stopped.told


def test_a_second_sigterm_asks_for_the_same_as_the_first(tmp_path):
    run = tmp_path / "run"
    stopped = attempt(run, LONG, "rollout", INSIDE, signals=[signal.SIGTERM, signal.SIGTERM])
    assert stopped.code == 130
    assert read_json(run / "status.json")["status"] == "interrupted"
    assert [r["step"] for r in records(run, "train")] == [1]
    assert "go on from step-1 with" in stopped.told


def test_while_the_report_is_written_the_run_is_done(whole, tmp_path):
    run = tmp_path / "run"
    stopped = attempt(run, ASKED, "report", signals=[signal.SIGTERM])
    assert stopped.code == 130
    assert read_json(run / "status.json")["status"] == "done"
    assert "the run is done" in stopped.told
    if not (run / "report" / "report.html").is_file():  # the signal came before the report was begun
        assert called(str(run), module="tgpo.report").returncode == 0
    check_same(run, whole, STEPS)
