"""Writes a benchmark's numbers: its JSON, and its table in the README."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tgpo.report.markdown import fill
from tgpo.runs.provenance import processor

HERE = Path(__file__).parent


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def format_ratio(found: Mapping[str, float]) -> str:
    """Formats a `spread` as `median [min, max]`."""
    return f"{found['median']:.2f} [{found['min']:.2f}, {found['max']:.2f}]"


def setting(work: str, *packages: str) -> dict[str, Any]:
    """Returns what was done, on which machine, and with which package versions."""
    return {"work": work, "machine": machine(), "versions": {p: metadata.version(p) for p in packages}}


def machine() -> dict[str, Any]:
    return {"processor": processor(), "threads": torch.get_num_threads(), "system": platform.platform()}


def write_results(name: str, record: dict[str, Any], table: str) -> None:
    """Writes `results/NAME.json`, and the rows between `<!-- NAME -->` and `<!-- /NAME -->` of the README."""
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    fill(HERE / "README.md", name, table)
    print(table)
