"""What a person sees: a table on a terminal, lines elsewhere, one line for each problem of a run."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tests.conftest import called
from tgpo.preflight.checks import Row
from tgpo.preflight.table import show

ROWS = [Row("memory", "problem", "too [little]"), Row("", "not looked at", "disk"), Row("device", "in order", "CPU")]


def test_a_table_on_a_terminal():
    file = io.StringIO()
    show(ROWS, Console(file=file, force_terminal=True, width=60, color_system=None))
    _, problem, unseen, fine = (line.rstrip() for line in file.getvalue().rstrip().splitlines())
    assert problem.split(maxsplit=2) == ["problem", "memory", "too [little]"]
    assert unseen.endswith("disk")
    assert fine.split() == ["in", "order", "device", "CPU"]


def test_lines_elsewhere(capsys):
    show(ROWS)
    assert capsys.readouterr().out.splitlines()[0].split() == ["problem", "memory", "too", "[little]"]


@pytest.mark.slow
def test_the_command_that_only_looks(tmp_path):
    process = called("preflight_only=true", f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 0
    assert re.search(r"^in order +teacher's tokenizer +the same 101 tokens$", process.stdout, re.M)
    assert not (tmp_path / "run").exists()
    process = called("preflight_only=true", "student.path=/no", "train.device=tpuu", f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 2
    states = [line[:13].strip() for line in process.stdout.splitlines()]
    assert states == ["problem"] * 2 + ["not looked at"] + ["in order"] * (len(states) - 3)
    assert process.stderr == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_job_of_real_size_names_all_that_it_lacks(tmp_path):
    process = called("objective=tgpo", "teacher=qwen-7b", "task=arithmetic", f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 2
    lines = process.stderr.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines)
    assert "hf download Qwen/Qwen2.5-1.5B-Instruct" in process.stderr
    assert "hf download Qwen/Qwen2.5-Math-7B-Instruct" in process.stderr
    assert process.stdout == ""
    assert not (tmp_path / "run").exists()
