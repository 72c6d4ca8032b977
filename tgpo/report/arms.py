"""Groups the runs of a sweep into arms: an arm is a set of runs that differ in nothing but the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tgpo.report.collect import RunFiles
from tgpo.report.find import Note
from tgpo.runs.keys import NOT_PART_OF_THE_EXPERIMENT, option_of

OBJECTIVE = "objective"
# the groups that make up a setting, in the order in which a label has them
SETTING = ("student", "teacher", "teacher/context", "teachers", "task")
GROUPS = (OBJECTIVE, *SETTING, "scale", "demonstrations", "rollout", "train", "eval")
# keys that never distinguish arms, even when overridden
NEVER = (*NOT_PART_OF_THE_EXPERIMENT, "seed", "name", "experiment", "hydra")
PLACES = ("student.path", "teacher.path", "demonstrations.path")
# how a run is computed and measured: these keys distinguish arms only where they are overridden
HOW = ("metrics", "server", "vllm", "scale", "train.threads", "train.device", "train.checkpoint_every",
       "train.keep_checkpoints", "train.max_logits", "train.max_tokens_per_micro_batch")  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """`values` are those of the keys that differ within the sweep, in the keys' order; None where a key is absent."""

    label: str
    values: tuple[str | None, ...]
    objective: str
    context: tuple[str | None, ...]  # the values outside the objective's section, which a baseline has to share
    setting: tuple[str | None, ...]  # of these, student, teacher and task: arms that differ here are not comparable


def arms_of(runs: Mapping[str, RunFiles]) -> tuple[dict[str, Arm], list[Note]]:
    """Returns each run's arm by the run's name, and notes on runs that lack keys which others of their arm have."""
    settings = {name: settings_of(run) for name, run in runs.items()}
    settings = without_places(runs, with_contents(runs, settings))
    arms = tell_apart(settings, sorted(override_keys(runs.values())))
    return arms, older(runs, settings, {name: arm.values for name, arm in arms.items()})


def tell_apart(settings: Mapping[str, Mapping[str, str]], overridden: Sequence[str]) -> dict[str, Arm]:
    """Returns each run's arm by the run's name, from the settings; the options in `overridden` come first, in order."""
    keys = differing_keys(list(settings.values()), overridden)
    values = {name: tuple(setting.get(key) for key in keys) for name, setting in settings.items()}
    labels = labels_of(sorted(set(values.values()), key=order), keys)
    shared = [i for i, key in enumerate(keys) if not within(key, (OBJECTIVE,))]
    setting = [i for i, key in enumerate(keys) if within(key, SETTING)]
    arms = {
        value: Arm(label or objective, value, objective, *(tuple(value[i] for i in some) for some in (shared, setting)))
        for name, value in values.items()
        for label, objective in [(labels[value], settings[name].get(OBJECTIVE) or "unknown objective")]
    }
    return {name: arms[value] for name, value in values.items()}


def settings_of(run: RunFiles) -> dict[str, str]:
    """Returns a run's choices by group and its resolved options by dotted name, as text."""
    config = {key: value for key, value in run.config.items() if not within(key, NEVER)}
    flat = dict(flatten(config))
    options = {key: text(value) for key, value in flat.items() if not key.endswith("_target_")}
    return options | {group: choice for group in GROUPS if (choice := choice_of(run, group)) is not None}


def with_contents(runs: Mapping[str, RunFiles], settings: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Returns the settings with the digest of what lies behind a path, where runs with the same path have read
    different contents: they are different arms."""
    digests_of: dict[tuple[str, str], set[str]] = {}
    for name, setting in settings.items():
        for key, digest in runs[name].inputs.items():
            digests_of.setdefault((key, setting.get(key, "")), set()).add(digest)
    return {
        name: setting | {
            f"{key}.digest": digest for key, digest in runs[name].inputs.items()
            if len(digests_of[key, setting.get(key, "")]) > 1
        }
        for name, setting in settings.items()
    }  # fmt: skip


def without_places(runs: Mapping[str, RunFiles], settings: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Returns the settings with one value for paths that differ only in their numbers, one per seed (a student's)."""
    for key in PLACES:
        seeds_of: dict[str, set[Any]] = {}
        for name, setting in settings.items():
            if key in setting:
                seeds_of.setdefault(setting[key], set()).add(runs[name].config.get("seed"))
        for places in split(list(seeds_of), lambda place: re.sub(r"\d+", "N", place)):
            seeds = [seed for place in places for seed in seeds_of[place]]
            if len(places) == len(seeds) == len(set(seeds)) > 1:
                common = {place: re.sub(r"\d+", "N", place) for place in places}
                settings = {n: s | {key: common.get(s[key], s[key])} if key in s else s for n, s in settings.items()}
    return settings


def choice_of(run: RunFiles, group: str) -> str | None:
    """Returns the choice as it was composed; for a run that did not record its choices, inferred from the section."""
    if group in run.choices:
        return run.choices[group]
    section = run.config.get(group)
    if not isinstance(section, dict):
        return None
    target = section.get("_target_")
    return str(target).split(".")[-2] if target else section.get("name") or section.get("backend")


def differing_keys(settings: Sequence[Mapping[str, str]], overridden: Sequence[str]) -> list[str]:
    """Returns the keys that distinguish the runs, selected in order: choices, then overrides, then any other option.

    A key is selected only where two runs that agree in all keys selected before have different values of it; a key that
    a run of an older version lacks is no difference.
    """
    every = sorted({key for setting in settings for key in setting})
    rest = [key for key in every if not within(key, HOW)]
    keys: list[str] = []
    groups = [list(settings)]
    for key in dict.fromkeys([*GROUPS, *overridden, *rest]):
        if within(key, NEVER) or not any(len({s[key] for s in g if key in s}) > 1 for g in groups):
            continue
        keys.append(key)
        groups = [part for group in groups for part in split(group, lambda s, key=key: s.get(key))]
    return keys


def split(items: Sequence[Any], by: Callable[[Any], Any]) -> list[list[Any]]:
    parts: dict[Any, list[Any]] = {}
    for item in items:
        parts.setdefault(by(item), []).append(item)
    return list(parts.values())


def override_keys(runs: Iterable[RunFiles]) -> set[str]:
    return {option_of(word) for run in runs for word in override_words(run)}


def override_words(run: RunFiles) -> list[str]:
    return [str(word) for word in run.config.get("overrides") or []]


def labels_of(arms: Sequence[tuple[str | None, ...]], keys: Sequence[str]) -> dict[tuple[str | None, ...], str]:
    """Returns the labels of the arms: the name of the objective, and everything else as `option=value`.

    A key is left out where all arms that agree in the keys before it have the same value.
    """
    shortest = short_names(keys)
    labels = {}
    for arm in arms:
        parts = []
        for i, key in enumerate(keys):
            beside = {other[i] for other in arms if other[:i] == arm[:i]}
            if len(beside) > 1:
                value = "unset" if arm[i] is None else str(arm[i])
                parts.append(value if key == OBJECTIVE else f"{shortest[key]}={value}")
        labels[arm] = " ".join(parts)
    return labels


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns the last part of each key (`group_size` of `rollout.group_size`), unless another key shares it."""
    ends = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}


def older(
    runs: Mapping[str, RunFiles], settings: Mapping[str, Mapping[str, str]], values: Mapping[str, Sequence[str | None]]
) -> list[Note]:
    """Returns notes on runs of older versions: they lack sections of other runs, or options of others in their arm."""
    sections = {section for run in runs.values() for section in run.config} | {"choices", "overrides"}
    lacking: dict[str, list[str]] = {}
    for name, run in runs.items():
        known = {key for other, value in values.items() if value == values[name] for key in settings[other]}
        missing = sections - set(run.config)
        missing |= {key for key in known - set(settings[name]) if not within(key, missing)}
        if missing:
            lacking.setdefault(a_few(sorted(missing)), []).append(name)
    return [Note(f"from an older version, without {what}", tuple(names)) for what, names in lacking.items()]


def a_few(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def flatten(node: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield prefix.removesuffix("."), node
        return
    for key, value in node.items():
        yield from flatten(value, f"{prefix}{key}.")


def text(value: Any) -> str:
    """Returns a value as text (`0.5`, `[0.5,0.0]`, `none`), short enough for a legend and the same for equal values."""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return "[" + ",".join(text(item) for item in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def within(key: str, sections: Iterable[str]) -> bool:
    return any(key == section or key.startswith((f"{section}.", f"{section}/")) for section in sections)


def order(values: Sequence[str | None]) -> list[tuple[int, float, str]]:
    """Returns a sort key: numbers by size, then names."""
    return [number_first(value) for value in values]


def number_first(value: str | None) -> tuple[int, float, str]:
    try:
        return (0, float(value or "nan"), "") if value else (2, 0.0, "")
    except ValueError:
        return (1, 0.0, value or "")
