"""Which model a `checkpoint=` means, and which run it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo.errors import RequestError
from tgpo.models.loading import resolve
from tgpo.runs import checksums
from tgpo.runs.directory import RunDirectory
from tgpo.runs.resume import newest_intact

MODEL = "model/"  # of a checkpoint's files


@dataclass(frozen=True)
class Located:
    """`model` is what `student.path` takes; `run` the directory of the run that wrote it, if one did."""

    given: str
    model: str
    run: Path | None = None
    skipped: tuple[str, ...] = ()  # the run's newer checkpoints that are damaged, and where

    @property
    def slug(self) -> str:
        """A folder's name: of the run and the step, or the last two parts of the path."""
        path = Path(self.model)
        parts = path.parts[-2:] if self.run is None else (self.run.resolve().name, path.parent.name)
        return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-")

    def run_config(self) -> dict[str, Any]:
        return {} if self.run is None else RunDirectory(self.run).config()


def locate(given: str) -> Located:
    """Raises RequestError for a run without an intact checkpoint, and for a damaged one that is named itself.

    Of a checkpoint the model alone is looked at. Other paths are left for the checks of model files.
    """
    path = Path(given)
    if (path / "config.yaml").is_file():  # a run
        found, skipped = newest_intact(path, MODEL)
        if found is None:
            why = "; ".join(skipped) or "that run has no complete checkpoint"
            raise RequestError(f"checkpoint={given}: {why}")
        return Located(given, str(found / "model"), path, tuple(skipped))
    if (path / "model" / "config.json").is_file():  # checkpoints/step-N
        path = path / "model"
    if (path / "config.json").is_file():
        run = path.resolve().parents[2] if len(path.resolve().parents) > 2 else None
        came_from_run = run is not None and path.name == "model" and (run / "config.yaml").is_file()
        if (
            path.name == "model"
            and checksums.is_listed(path.parent)
            and (problem := checksums.damage(path.parent, MODEL))
        ):
            raise RequestError(f"checkpoint={given}: {problem}")
        return Located(given, str(path), run if came_from_run else None)
    return Located(given, given)


def weights_of(folder: str | Path) -> list[list[Any]]:
    """Names, sizes and times of a model's weight files: whether results are of what is there now."""
    files = sorted(Path(resolve(str(folder))).glob("*.safetensors"))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
