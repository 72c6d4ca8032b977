"""A few of the table as a person meets them: a process of its own, from the shell's exit code to the last byte."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

import pytest

from tests.bad_input.cases import CASES, module_of
from tests.bad_input.places import Places
from tests.conftest import ROOT, command

pytestmark = pytest.mark.slow

CHOSEN = {
    "run.py": [
        "train.stepz=3",
        "steps",
        "teacher=none",
        "train.lr=nan",
        "teacher.path=/no/such/model",
        "--nonsense",
        "student.path={pickled}",
        "output_dir={file}/below",
        "resume={config_broken}",
        "-m seed=range(0)",
    ],
    "tgpo.report": ["{empty}"],
    "tgpo.evaluation": ["checkpoint={run}"],
    "tgpo.divergence": ["teacher=none"],
    "tgpo.demonstrations": [""],
    "experiments.first_look": ["/nowhere"],
}  # fmt: skip  of every command, and of `run.py` one of each kind
SECONDS = 60  # 10 are promised on an idle machine; a hang is what this catches


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [case for case in CASES if case[1] in CHOSEN.get(case[0], ())],
    ids=lambda text: text[:60],
)
def test_one_line_and_exit_code_2(program, arguments, words, tmp_path):
    places, here = Places(tmp_path / "places"), tmp_path / "here"
    places.root.mkdir()
    here.mkdir()
    arguments, words = places.fill(arguments), places.fill(words)
    started = time.monotonic()
    process = command(*shlex.split(arguments), module=module_of(program), cwd=here, timeout=SECONDS)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert list(here.iterdir()) == []
    assert time.monotonic() - started < SECONDS


def test_a_reader_that_has_enough_is_no_mistake():
    """As with `| head`; an interpreter of its own, because its standard output is a pipe."""
    shell = f"{sys.executable} run.py --cfg job | head -1"
    process = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (process.stdout, process.stderr) == ("name: default\n", "")


def test_every_choice_is_in_the_table():
    cases = {case[:2] for case in CASES}
    assert {(program, arguments) for program, chosen in CHOSEN.items() for arguments in chosen} <= cases
