"""TensorBoard beside the JSON lines: the same names, steps on the axis."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoardSink:
    """Event files in the run's `tensorboard/`. Numbers that are not finite are left out: in the JSON lines, null."""

    def __init__(self, directory: Path, config: Mapping[str, Any], done: int) -> None:
        """`done`: steps already taken; what an earlier process wrote after them is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=done + 1 if done else 0)
        self._writer.add_text("config", f"```\n{json.dumps(config, indent=1, ensure_ascii=False)}\n```", done)

    def write(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("kind", "step") and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, record["step"])
        self._writer.flush()

    def attach(self, report: Path) -> None:
        """TensorBoard shows no pages."""

    def close(self, summary: Mapping[str, Any], failed: bool) -> None:
        self._writer.close()
