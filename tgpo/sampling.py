"""Many responses, a part of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tgpo.rollout.base import RolloutEngine, Sampling
from tgpo.seeds import derived_seed
from tgpo.types import Problem, Rollout


def in_parts(
    engine: RolloutEngine, problems: Sequence[Problem], sampling: Sampling, rows_at_once: int
) -> Iterator[list[Rollout]]:
    """About `rows_at_once` responses, or one problem's, at a time; each part has draws of its own."""
    at_once = max(1, rows_at_once // sampling.samples_per_problem)
    for first in range(0, len(problems), at_once):
        drawn = replace(sampling, seed=derived_seed(sampling.seed, "rows", first))
        yield engine.generate(problems[first : first + at_once], drawn)
