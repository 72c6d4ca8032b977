"""Writes the records to TensorBoard as well, under the same names as in the JSON lines, over steps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoardSink:
    """Writes event files in the run's `tensorboard/`. Non-finite numbers are left out (the JSON lines have null)."""

    def __init__(self, directory: Path, config: Mapping[str, Any], done: int) -> None:
        """`done` is the number of steps already taken; records of later steps, from an earlier process, are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=done + 1 if done else 0)
        self._writer.add_text("config", f"```\n{json.dumps(config, indent=1, ensure_ascii=False)}\n```", done)

    def write(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("kind", "step") and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()

    def attach(self, report: Path) -> None:
        """Does nothing, as TensorBoard cannot show a page."""

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self._writer.close()
