"""What the tests share: the shipped models, loaded once, and runs made by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tgpo.models import load_model, load_tokenizer

ROOT = Path(__file__).parents[1]


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


def command(*arguments: str, module: str | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs `python run.py ARGUMENTS` (or `python -m MODULE`) as a user would, from the repository's root."""
    program = ["-m", module] if module else ["run.py"]
    environment = {**os.environ, "WANDB_MODE": "offline", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def records(run: Path, kind: str | None = None) -> list[dict]:
    """The metrics of a run directory."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def untimed(run: Path) -> list[dict]:
    """The metrics without what no two runs share: times, throughput and memory."""
    measured = ("time/", "throughput/", "memory/")
    return [{k: v for k, v in record.items() if not k.startswith(measured)} for record in records(run)]
