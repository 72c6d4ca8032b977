"""The top-level keys of a configuration that are not part of the experiment, by what they are about instead."""

from __future__ import annotations

OF_RESUMING = ("resume", "resume_with_changes", "preflight_only", "output_dir")
OF_THE_SWEEP = ("launcher", "rerun", "sweep_dir")
OF_THE_LOGGER = ("logger",)
OF_THE_RECORD = ("choices", "overrides")  # what was typed, kept beside what it resolved to
NOT_PART_OF_THE_EXPERIMENT = frozenset({*OF_RESUMING, *OF_THE_SWEEP, *OF_THE_LOGGER, *OF_THE_RECORD})


def option_of(override: str) -> str:
    """The key that an override such as `+train.lr=1e-4` sets."""
    return override.partition("=")[0].lstrip("+~")
