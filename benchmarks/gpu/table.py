"""Writes the README's tables, from the JSON of the phases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.record import HERE
from tgpo.report.markdown import fill

SHOWN = {
    "update": ("model", "length", "weights", "checkpointing", "compiled", "tokens a second", "share of the peak",
               "peak bytes", "peak / estimated", "failed"),
    "head": ("objective", "dtype", "seconds", "peak bytes above what is held", "failed"),
    "rollouts": ("weights", "rows", "tokens a second", "milliseconds a token of each", "peak bytes", "failed"),
    "variance": ("method", "seconds a group", "peak bytes above weights and gradient"),
    "checkpoints": ("what", "seconds", "bytes a second"),
}  # fmt: skip


def write_table(folder: Path) -> None:
    parts = []
    for phase, columns in SHOWN.items():
        path = folder / f"gpu-{phase}.json"
        if path.is_file():
            parts.append(of_phase(json.loads(path.read_text()), columns))
    if parts:
        fill(HERE / "README.md", "gpu", "\n\n".join(parts) + "\n")


def of_phase(content: dict[str, Any], columns: tuple[str, ...]) -> str:
    rows = pd.DataFrame(content["rows"])
    rows = rows[[c for c in columns if c in rows]]
    formatted = rows.map(cell).fillna("").rename(columns=lambda c: c.replace("bytes", "GB"))
    for name in rows:
        if "bytes" in name:
            formatted[name.replace("bytes", "GB")] = [cell(v / 1e9) if pd.notna(v) else "" for v in rows[name]]
    title = f"**{content['phase']}**, {content['device']}, torch {content['versions']['torch']}"
    return f"{title}\n\n{formatted.to_markdown(index=False, disable_numparse=True)}"


def cell(value: Any) -> str:
    if isinstance(value, bool) or value is None or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
