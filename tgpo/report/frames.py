"""The data frames of a sweep, which a notebook can start from: one with a row per record, one with a row per run."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from tgpo.report.arms import override_words
from tgpo.report.comparison import Member, Sweep
from tgpo.runs.files import write_whole


def records_frame(sweep: Sweep) -> pd.DataFrame:
    """Returns every record of every run: run identity, `kind` (train or eval), `step`, and metrics by contract name."""
    parts = []
    for member in sweep.members:
        for kind, data in (("train", member.run.train), ("eval", member.run.evaluation)):
            if len(data):
                identity = pd.DataFrame({**identify(member), "kind": kind}, index=data.index)
                parts.append(pd.concat([identity, data], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def runs_frame(sweep: Sweep) -> pd.DataFrame:
    """Returns a row per run, counted or not: how it ended, and the numbers by which it is compared."""
    return pd.DataFrame([{**identify(m), **ending(m), **m.numbers} for m in sweep.members])


def identify(member: Member) -> dict[str, object]:
    arm = member.arm
    return {
        "run": member.name,
        "arm": arm.label if arm else None,
        "objective": arm.objective if arm else None,
        "seed": member.seed,
        "standing": member.standing,
        "overrides": " ".join(override_words(member.run)),
    }


def ending(member: Member) -> dict[str, object]:
    provenance, git = member.run.provenance, member.run.provenance.get("git") or {}
    return {
        "status": member.state,
        "step": member.run.status.get("step"),
        "steps": (member.run.config.get("train") or {}).get("steps"),
        "reason": member.reason,
        "seconds": (member.run.status.get("timings") or {}).get("seconds"),
        "config_hash": provenance.get("config_hash"),
        "revision": git.get("revision"),
        "dirty": git.get("dirty"),
    }


def write_frames(sweep: Sweep, records: pd.DataFrame, folder: Path) -> None:
    write_parquet(folder / "records.parquet", records)
    write_csv(folder / "records.csv", records)
    write_csv(folder / "runs.csv", runs_frame(sweep))
    write_csv(folder / "statistics.csv", sweep.statistics)


def write_csv(path: Path, data: pd.DataFrame) -> None:
    write_whole(path, data.to_csv(index=False))


def write_parquet(path: Path, data: pd.DataFrame) -> None:
    """Writes atomically; a metric that is a number in one run and text in another (of another version) becomes text."""
    mixed = [name for name in data if data[name].map(type).nunique() > 2 and data[name].dtype == object]
    aside = path.with_name(f".{path.name}.partial")
    data.astype(dict.fromkeys(mixed, str)).to_parquet(aside, index=False)
    os.replace(aside, path)
