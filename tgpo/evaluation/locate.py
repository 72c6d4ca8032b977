"""Finds the model that `checkpoint=` names, and the run that wrote it."""

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

MODEL = "model/"  # folder of the model's files in a checkpoint


@dataclass(frozen=True)
class Located:
    """`model` is a value for `student.path`; `run` is the directory of the run that wrote it, None if no run did."""

    given: str
    model: str
    run: Path | None = None
    skipped: tuple[str, ...] = ()  # newer checkpoints of the run that are damaged, and how

    @property
    def slug(self) -> str:
        """A folder name made of the run and the step, or of the last two parts of the path."""
        path = Path(self.model)
        parts = path.parts[-2:] if self.run is None else (self.run.resolve().name, path.parent.name)
        return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-")

    def run_config(self) -> dict[str, Any]:
        return {} if self.run is None else RunDirectory(self.run).config()


def locate(given: str) -> Located:
    """Returns the model at a path: a run's newest intact checkpoint, the checkpoint that is given, or any other model.

    Raises RequestError for a run without an intact checkpoint, and if the given checkpoint is damaged. Only the model's
    files of a checkpoint are verified. Paths that are no checkpoint are left to the checks of model files.
    """
    path = Path(given)
    if (path / "config.yaml").is_file():  # a run
        newest, skipped = newest_intact(path, MODEL)
        if newest is None:
            why = "; ".join(skipped) or "that run has no complete checkpoint"
            raise RequestError(f"checkpoint={given}: {why}")
        return Located(given, str(newest / "model"), path, tuple(skipped))
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
    """Returns names, sizes and modification times of a model's weight files, by which changed weights are detected."""
    files = sorted(Path(resolve(str(folder))).glob("*.safetensors"))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
