"""The parts of a run, built as the command builds them, small enough for a test."""

from __future__ import annotations

from tests.compose import composed
from tgpo.config import check
from tgpo.loop import Parts
from tgpo.run import build

SMALL = ["rollout.prompts_per_batch=4", "rollout.group_size=4", "rollout.max_response_length=40", "output_dir=unused"]


def small(*overrides: str) -> Parts:
    return build(check(composed(*SMALL, *overrides)), None)
