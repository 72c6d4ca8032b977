"""Compares a set of runs: which runs count, to which arm each belongs, and with which baseline it is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tgpo.errors import RequestError, did_you_mean
from tgpo.report.arms import Arm, arms_of, order, text
from tgpo.report.collect import RunFiles, run_numbers
from tgpo.report.find import Note, common_root, find_runs

BASELINE = "grpo"  # reward alone: the objective that every other one has to beat
Standing = Literal["counted", "unfinished", "again", "other task", "no seed"]


@dataclass(frozen=True)
class Member:
    """A run of the sweep. Only runs whose standing is `counted` enter the statistics, each seed of an arm once."""

    name: str
    run: RunFiles
    seed: int | None
    arm: Arm | None
    standing: Standing
    numbers: dict[str, float]

    @property
    def state(self) -> str:
        return str(self.run.status.get("status", "unknown"))

    @property
    def reason(self) -> str:
        if self.run.status.get("reason"):
            return str(self.run.status["reason"])
        explanations = {"running": "still running, or killed", "unknown": "left no status"}
        return explanations.get(self.state, "")


@dataclass(frozen=True)
class Sweep:
    root: Path
    directories: tuple[Path, ...]
    task: str | None
    members: list[Member]
    arms: list[Arm]
    baselines: dict[str, Arm]  # by the label of the arm; an arm without a baseline is not compared
    baseline: str
    statistics: pd.DataFrame
    notes: list[Note]

    def of(self, *standings: Standing) -> list[Member]:
        return [member for member in self.members if member.standing in standings]

    def arm_members(self, arm: Arm) -> list[Member]:
        return [m for m in self.members if m.arm is not None and m.arm.label == arm.label]

    @property
    def name(self) -> str:
        names = dict.fromkeys(str(member.run.config.get("name", "runs")) for member in self.members)
        return ", ".join(names)

    @property
    def steps(self) -> int | None:
        """The configured number of steps where it is the same for all runs, else None."""
        steps = {(m.run.config.get("train") or {}).get("steps") for m in self.members}
        return steps.pop() if len(steps) == 1 else None

    def row(self, metric: str, arm: Arm) -> dict[str, Any]:
        """Returns the statistics of an arm on a metric; empty where no run was counted."""
        table = self.statistics
        if table.empty:
            return {}
        rows = table[(table["metric"] == metric) & (table["arm"] == arm.label)].to_dict("records")
        return {str(key): value for key, value in rows[0].items()} if rows else {}


def read_sweep(directories: Sequence[Path], baseline: str | None = None, task: str | None = None) -> Sweep:
    runs, notes = find_runs(directories)
    tasks = tasks_of(runs)
    chosen = choose_task(tasks, task)
    here = {name: run for name, run in runs.items() if tasks[name] == chosen}
    elsewhere: dict[str | None, list[str]] = {}
    for name, own in tasks.items():
        if own != chosen:
            elsewhere.setdefault(own, []).append(name)
    for own, names in elsewhere.items():
        hint = f", compare these with --task {own}" if own else ""
        notes.append(Note(f"on another task ({own or 'unknown'}), not compared here{hint}", tuple(names)))
    arm_of, older = arms_of(here)
    members, again = sort_members(runs, here, arm_of)
    notes += older + again
    without = tuple(m.name for m in members if m.standing == "no seed")
    if without:
        notes.append(Note("no seed in the configuration, cannot be paired and is not compared", without))
    return compared(members, arm_of, notes, chosen, tuple(directories), baseline)


def compared(
    members: list[Member],
    arm_of: Mapping[str, Arm],
    notes: list[Note],
    task: str | None,
    directories: tuple[Path, ...],
    baseline: str | None = None,
) -> Sweep:
    """Returns the members as one comparison: the arms in order, the baseline of each arm, and the statistics."""
    from tgpo.report.statistics import compare

    arms = sorted({arm.label: arm for arm in arm_of.values()}.values(), key=lambda arm: order(arm.values))
    chosen_baseline, baselines = choose_baselines(arms, baseline)
    counted = [{"arm": m.arm.label, "seed": m.seed, **m.numbers} for m in members if m.standing == "counted" and m.arm]
    table = pd.DataFrame(counted)
    metrics = [name for name in table if name not in ("arm", "seed") and table[name].notna().any()]
    return Sweep(
        root=common_root(directories),
        directories=directories,
        task=task,
        members=members,
        arms=arms,
        baselines=baselines,
        baseline=chosen_baseline,
        statistics=compare(table, [str(m) for m in metrics], arms, baselines) if counted else pd.DataFrame(),
        notes=notes,
    )


def tasks_of(runs: dict[str, RunFiles]) -> dict[str, str | None]:
    """Returns each run's own task; before its first evaluation, that of a run with the same task configuration."""
    by_section = {text([*map(str, section(run))]): run.task for run in runs.values() if run.task}
    return {name: run.task or by_section.get(text([*map(str, section(run))])) for name, run in runs.items()}


def section(run: RunFiles) -> list[Any]:
    return sorted((run.config.get("task") or {}).items())


def choose_task(tasks: dict[str, str | None], asked: str | None) -> str | None:
    """Returns the requested task, by default the one that most runs are on; of equals, the first by name."""
    available = sorted({task for task in tasks.values() if task})
    if asked is not None and asked not in available:
        raise RequestError(f"--task {asked}: no run is on it{did_you_mean(asked, available)}")
    if asked is not None or not available:
        return asked
    return max(available, key=lambda task: list(tasks.values()).count(task))


def sort_members(
    runs: dict[str, RunFiles], here: dict[str, RunFiles], arm_of: dict[str, Arm]
) -> tuple[list[Member], list[Note]]:
    """Returns the runs with their standing. Of an arm's runs with one seed, the newest finished one counts."""
    members: list[Member] = []
    taken: dict[tuple[str, int], str] = {}
    notes = []
    for name in sorted(runs, key=lambda name: -started(runs[name])):
        run, arm = runs[name], arm_of.get(name)
        seed = run.config.get("seed")
        seed = seed if isinstance(seed, int) else None
        standing: Standing = "counted" if run.done else "unfinished"
        if name not in here or arm is None:
            standing = "other task"
        elif seed is None:
            standing = "no seed"
        elif run.done:
            kept = taken.setdefault((arm.label, seed), name)
            if kept != name:
                standing = "again"
                notes.append(Note(f"the same seed and overrides as {kept}, which is newer and counts", (name,)))
        members.append(Member(name, run, seed, arm, standing, run_numbers(run)))
    names = list(runs)
    return sorted(members, key=lambda m: names.index(m.name)), notes


def started(run: RunFiles) -> float:
    return float((run.status.get("timings") or {}).get("started") or 0.0)


def choose_baselines(arms: Sequence[Arm], asked: str | None) -> tuple[str, dict[str, Arm]]:
    """Returns the name of the baseline, and each arm's baseline by the arm's label.

    If the name is an objective, each arm is compared with that objective in its own context (for example, with the same
    student); if it is an arm, all arms are compared with that one. The default is `grpo` where objectives differ and it
    is one of them, else the first arm, which is then the baseline only of the arms in its setting.
    """
    objectives = sorted({arm.objective for arm in arms})
    labels = {arm.label: arm for arm in arms}
    default = BASELINE if len(objectives) > 1 and BASELINE in objectives else arms[0].label if arms else ""
    chosen = default if asked is None else asked
    if chosen in labels:
        alike = [arm for arm in arms if asked is not None or arm.setting == labels[chosen].setting]
        return chosen, {arm.label: labels[chosen] for arm in alike}
    if chosen not in objectives or len(objectives) == 1:
        raise RequestError(f"--baseline {chosen}: no such arm{did_you_mean(chosen, {*labels, *objectives})}")
    by_label: dict[str, Arm] = {}
    for arm in arms:
        same = [other for other in arms if other.objective == chosen and other.context == arm.context]
        if same:
            by_label[arm.label] = same[0]
    return chosen, by_label


def closing_lines(sweep: Sweep) -> list[str]:
    counted = len(sweep.of("counted"))
    lines = [f"{note}" for note in sweep.notes]
    lines += [f"{m.state} at step {m.run.status.get('step', 0)}: {m.name}" + (f" ({m.reason})" if m.reason else "")
              for m in sweep.of("unfinished")]  # fmt: skip
    for arm in sweep.arms:
        row = sweep.row("final accuracy", arm)
        if row:
            lines.append(f"{arm.label:<24} final accuracy {row['mean']:.3f} over {row['runs']} runs")
    return [*lines, f"{counted} of {len(sweep.members)} runs count, in {len(sweep.arms)} arms"]
