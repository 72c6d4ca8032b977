"""The built wheel, installed into an environment of its own: each command starts in a folder far from the checkout.

The environment has its own `tgpo`; the packages it depends on are those of the environment that runs the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow

SMALL = [
    "rollout.prompts_per_batch=2",
    "rollout.max_response_length=32",
    "task.eval_two_terms=4",
    "task.eval_more_terms=4",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Returns the folder of the environment's programs."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, environment = folder / "wheels", folder / "environment"
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=300)
    python, (wheel,) = environment / "bin" / "python", wheels.glob("tgpo-*.whl")
    into = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(into, check=True, timeout=300)
    (site,) = environment.glob("lib/python*/site-packages")
    # a folder that a .pth file names is searched, but its own .pth files, such as an editable tgpo's, are not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ENVIRONMENT
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(installed, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    process = call(installed / "tgpo", "objective=rkl", "train.steps=3", "eval.every=3", f"output_dir={run}", *SMALL)
    assert process.returncode == 0, process.stderr
    return run


def test_it_is_the_wheel_that_is_imported(installed, elsewhere):
    where = call(installed / "python", "-c", "import tgpo; from tgpo.config import CONF; print(tgpo.__file__, CONF)")
    module, conf = map(Path, where.stdout.split())
    assert module.is_relative_to(installed.parent) and conf == module.parent / "conf"


def test_it_trains(trained):
    assert json.loads((trained / "status.json").read_text())["status"] == "done"
    assert (trained / "report" / "report.html").is_file()


def test_help_lists_the_groups(installed, elsewhere):
    process = call(installed / "tgpo", "--help")
    assert process.returncode == 0, process.stderr
    assert "objective: " in process.stdout and "tgpo_adv" in process.stdout


def test_a_wrong_option_is_refused(installed, elsewhere):
    process = call(installed / "tgpo", "objective=tgop")
    assert process.returncode == 2
    assert "tgpo" in process.stderr and "Traceback" not in process.stderr
    assert not any(elsewhere.iterdir())


@pytest.mark.long
def test_it_sweeps(installed, elsewhere):
    process = call(installed / "tgpo", "-m", "objective=rkl,grpo", "train.steps=1", "eval.every=1", *SMALL)
    assert process.returncode == 0, process.stderr
    assert len(list(elsewhere.glob("multirun/default/*/*/status.json"))) == 2
    assert len(list(elsewhere.glob("multirun/default/*/report/report.html"))) == 1


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["report", "{run}"], "{run}/report/report.html"),
        (["evaluate", "checkpoint={run}", "output=out"], "out/table.md"),
        (["divergence", "divergence.prompts=2", "divergence.samples=1", "divergence.output_dir=out"], "out/table.md"),
        (["demonstrations", "demonstrations.path=out", "objective=sft", "train.steps=1", *SMALL], "out/recipe.json"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_other_commands(arguments, made, trained, installed, elsewhere):
    process = call(installed / "tgpo", *(argument.format(run=trained) for argument in arguments))
    assert process.returncode == 0, process.stderr
    assert (elsewhere / made.format(run=trained)).is_file()
