"""What the tests share: the shipped models, loaded once, and runs made by the real command."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from tests import forked
from tgpo.models.loading import load_model, load_tokenizer

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"WANDB_MODE": "offline", "COLUMNS": "200"}

# What a shell starts in the background ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is imported by now stays: without it, a full collection takes half a second here, and runs, reports and
    statsmodels ask for one often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("tiny:teacher")


@pytest.fixture(scope="session")
def teacher_model():
    return load_model("tiny:teacher", "float32", "cpu")


@pytest.fixture(scope="session")
def student_model():
    return load_model("tiny:large-gap", "float32", "cpu")


def command(
    *arguments: str, module: str | None = None, timeout: float = 300, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """`python run.py ARGUMENTS` (or `python -m MODULE`) in a process of its own, to its end."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    return forked.run(*arguments, module=module, timeout=timeout, cwd=cwd, env=environment)


def loggers() -> list[logging.Logger]:
    return [found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger)]


class Called(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def called(*arguments: str, module: str | None = None) -> Called:
    """`command` in this process, as Python itself would begin it: for what is not about processes.

    One of its own takes seconds to import torch; hundreds of requests that are refused would take an hour.
    """
    out, err, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    root, silent = logging.getLogger(), {logger for logger in loggers() if logger.disabled}
    level = root.level
    GlobalHydra.instance().clear()
    sys.argv = [module or "run.py", *arguments]
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            warnings.catch_warnings(),
            mock.patch.dict(os.environ, ENVIRONMENT),  # what the command sets there goes with it
        ):
            warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)  # other tests import it
            if module:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
        root.setLevel(level)  # Hydra quietens them all, for the life of a process
        for logger in loggers():
            logger.disabled = logger in silent
    return Called(code, out.getvalue(), err.getvalue())


def records(run: Path, kind: str | None = None) -> list[dict]:
    """The metrics of a run directory."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def untimed(run: Path) -> list[dict]:
    """The metrics without what no two runs share: times, throughput and memory."""
    measured = ("time/", "throughput/", "memory/")
    return [{k: v for k, v in record.items() if not k.startswith(measured)} for record in records(run)]
