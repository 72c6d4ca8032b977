"""Reads from their provenance what produced a set of runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from tgpo.report.collect import RunFiles


def manifest(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Returns revisions, versions and hardware of the runs; where two disagree on a version, that of the later run."""
    git = [run.provenance["git"] for run in runs if run.provenance.get("git")]
    return {
        "revisions": sorted({record["revision"] for record in git}),
        **{part: merged([run.provenance.get(part) or {} for run in runs]) for part in ("versions", "hardware")},
    }


def merged(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for record in records for key, value in record.items()}


def launch_commands(runs: Sequence[RunFiles]) -> list[str]:
    """Returns the commands as they were typed; one that started many runs is listed once."""
    typed = [run.provenance["command"] for run in runs if run.provenance.get("command")]
    return list(dict.fromkeys(shlex.join(["python", *map(str, words)]) for words in typed))


def dirty(runs: Sequence[RunFiles]) -> list[RunFiles]:
    """Returns the runs whose code had uncommitted changes."""
    return [run for run in runs if (run.provenance.get("git") or {}).get("dirty")]
