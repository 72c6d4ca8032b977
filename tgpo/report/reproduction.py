"""What produced a set of runs, read off their provenance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from tgpo.report.collect import RunFiles


def manifest(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Revisions, versions and hardware of the runs; where two disagree on a version, the later run's is given."""
    git = [run.provenance["git"] for run in runs if run.provenance.get("git")]
    return {
        "revisions": sorted({found["revision"] for found in git}),
        **{part: merged([run.provenance.get(part) or {} for run in runs]) for part in ("versions", "hardware")},
    }


def merged(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for record in records for key, value in record.items()}


def launch_commands(runs: Sequence[RunFiles]) -> list[str]:
    """As they were typed; one that started many runs stands once."""
    typed = [run.provenance["command"] for run in runs if run.provenance.get("command")]
    return list(dict.fromkeys(shlex.join(["python", *map(str, words)]) for words in typed))


def dirty(runs: Sequence[RunFiles]) -> list[RunFiles]:
    """Those whose code was not the revision's."""
    return [run for run in runs if (run.provenance.get("git") or {}).get("dirty")]
