"""The command that writes demonstrations, really killed; runs that learn from them."""

from __future__ import annotations

import json
import re
import signal
import time

import pandas as pd
import pytest

from tests import forked
from tests.conftest import called, records, untimed
from tgpo.tasks.demonstrations import read

pytestmark = pytest.mark.slow

RUN = ["train.steps=2", "rollout.prompts_per_batch=4", "objective=luffy"]
MODULE = "tgpo.demonstrations"


def rows(folder) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(part) for part in sorted(folder.glob("part-*.parquet")))


def test_killed_and_called_again_it_writes_what_it_would_have_written(tmp_path):
    many = ["train.steps=40"]  # 640 problems, two of them met twice: three parts
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = called(*many, f"demonstrations.path={whole}", module=MODULE)
    assert process.returncode == 0, process.stderr
    assert "of 638 problems" in process.stdout

    running = forked.start(*many, f"demonstrations.path={killed}", module=MODULE)
    deadline = time.monotonic() + 120
    while not list(killed.glob("part-00000-*.parquet")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait(60) == -signal.SIGKILL
    assert len(list(killed.glob("part-*.parquet"))) < 3
    process = called(*many, f"demonstrations.path={killed}", module=MODULE)
    assert process.returncode == 0, process.stderr
    pd.testing.assert_frame_equal(rows(killed), rows(whole))

    # the teacher is right nearly always, and what it wrote is what it is rewarded for
    assert len(rows(whole)) > 600
    refused = called(*many, f"demonstrations.path={whole}", "demonstrations.temperature=1", module=MODULE)
    assert refused.returncode == 2
    assert "made with temperature=0.7" in refused.stderr

    too_long = ["rollout.max_response_length=20", "eval.max_response_length=96"]
    refused = called(*RUN, f"demonstrations.path={whole}", *too_long, f"output_dir={tmp_path / 'run'}")
    assert refused.returncode == 2
    assert "tokens and rollout.max_response_length is 20" in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["sft", "luffy"])
def test_a_run_has_its_demonstrations_at_hand(objective, tmp_path):
    run = tmp_path / "run"
    process = called(*RUN, f"objective={objective}", f"output_dir={run}")
    assert process.returncode == 0, process.stderr
    assert len(read(run / "demonstrations").by_problem) == 8
    for record in records(run, "train"):
        assert record["demonstrations/used"] == 4
        assert record["demonstrations/missing"] == 0
        assert ("reward/mean" in record) == (objective == "luffy")  # of rollouts, where there are any
    sources = [json.loads(line)["source"] for line in (run / "rollouts.jsonl").read_text().splitlines()]
    assert set(sources) == {"teacher" if objective == "sft" else "student"}
    assert not re.search(r"\bnan\b", (run / "report" / "report.html").read_text().split("<script")[0])


def test_given_demonstrations_are_the_ones_a_run_would_make(tmp_path):
    folder = tmp_path / "made"
    assert called(*RUN, f"demonstrations.path={folder}", module=MODULE).returncode == 0
    own, given = tmp_path / "own", tmp_path / "given"
    assert called(*RUN, f"output_dir={own}").returncode == 0
    assert called(*RUN, f"demonstrations.path={folder}", "teacher=none", f"output_dir={given}").returncode == 0

    def learned(run):
        return [{k: v for k, v in r.items() if not k.startswith("divergence/")} for r in untimed(run)]

    assert learned(own) == learned(given)  # and without a teacher in memory
