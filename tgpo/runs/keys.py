"""The top-level keys of a configuration that are not part of the experiment, by what they are about instead."""

from __future__ import annotations

from typing import Any

OF_RESUMING = ("resume", "resume_with_changes", "preflight_only", "output_dir")
OF_THE_SWEEP = ("launcher", "rerun", "sweep_dir")
OF_THE_LOGGER = ("logger",)
OF_THE_RECORD = ("choices", "overrides")  # what was typed, kept beside what it resolved to
NOT_PART_OF_THE_EXPERIMENT = frozenset({*OF_RESUMING, *OF_THE_SWEEP, *OF_THE_LOGGER, *OF_THE_RECORD})


def option_of(override: str) -> str:
    """The key that an override such as `+train.lr=1e-4` sets."""
    return override.partition("=")[0].lstrip("+~")


# Names that configurations had once: what an older run saved is read with these replaced.
RENAMED = {"tuning": "scale"}  # 2026-11-28


def current_override(override: str) -> str:
    """The override with today's name of its option."""
    option = option_of(override)
    section, dot, rest = option.partition(".")
    return override.replace(option, f"{RENAMED.get(section, section)}{dot}{rest}", 1)


def current_config(config: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration with today's names of its sections, groups and overrides."""
    found = {RENAMED.get(key, key): value for key, value in config.items()}
    if "choices" in found:
        found["choices"] = {RENAMED.get(group, group): choice for group, choice in found["choices"].items()}
    if "overrides" in found:
        found["overrides"] = [current_override(str(override)) for override in found["overrides"]]
    return found
