"""Wrong requests by the real command: exit code 2, one line, quickly, nothing left behind."""

from __future__ import annotations

import time

import pytest

from tests.conftest import command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.stepz=3"], "'train.stepz' is not an option; did you mean 'train.steps'?"),
        (["objective=tgop"], "objective=tgop: no such choice; did you mean 'tgpo'?"),
        (["objectiv=tgpo"], "did you mean 'objective'?"),
        (["+foo=1"], "'foo' is not an option"),
        (["steps"], "not of the form key=value"),
        (["train.steps=0"], "train.steps=0"),
        (["objective.clip_low=2"], "objective.clip_low=2"),
        (["teacher=none"], "needs a teacher"),
        (["rollout.group_size=1"], "use 2 or more"),
        (["teacher.path=/no/such/model"], "no such folder"),
        (["train.device=tpuu"], "not a device"),
    ],
)
def test_one_line_and_exit_code_2(arguments, words, tmp_path):
    folder = tmp_path / "run"
    started = time.monotonic()
    process = command(*arguments, f"output_dir={folder}")
    seconds = time.monotonic() - started
    assert process.returncode == 2
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert process.stdout == ""
    assert not folder.exists()
    assert seconds < 30  # 10 s is promised on an idle machine; a hang is what this catches


def test_report_of_a_folder_that_is_no_run(tmp_path):
    process = command(str(tmp_path), module="tgpo.report")
    assert process.returncode == 2
    assert "no readable run" in process.stderr
