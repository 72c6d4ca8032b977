"""The top-level keys of a configuration that are not part of the experiment, grouped by their purpose."""

from __future__ import annotations

from typing import Any

OF_RESUMING = ("resume", "resume_with_changes", "preflight_only", "output_dir")
OF_THE_SWEEP = ("launcher", "rerun", "sweep_dir")
OF_THE_LOGGER = ("logger",)
OF_THE_RECORD = ("choices", "overrides")  # what was typed, recorded beside the values that it resolved to
NOT_PART_OF_THE_EXPERIMENT = frozenset({*OF_RESUMING, *OF_THE_SWEEP, *OF_THE_LOGGER, *OF_THE_RECORD})


def option_of(override: str) -> str:
    """Returns the key that an override such as `+train.lr=1e-4` sets."""
    return override.partition("=")[0].lstrip("+~")


# Former names of sections and their current ones, which replace them when an older run's configuration is read.
RENAMED = {"tuning": "scale"}  # 2026-11-28


def current_override(override: str) -> str:
    """Returns the override with the current name of its option."""
    option = option_of(override)
    section, dot, rest = option.partition(".")
    return override.replace(option, f"{RENAMED.get(section, section)}{dot}{rest}", 1)


def current_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a saved configuration with the current names of its sections, groups and overrides."""
    current = {RENAMED.get(key, key): value for key, value in config.items()}
    if "choices" in current:
        current["choices"] = {RENAMED.get(group, group): choice for group, choice in current["choices"].items()}
    if "overrides" in current:
        current["overrides"] = [current_override(str(override)) for override in current["overrides"]]
    return current
