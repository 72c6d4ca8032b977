"""Everything that can be known to be wrong before a model loads, and what was found where nothing is.

One file for each family of checks; `checks.py` lists them in order, the cheap ones first.
"""

from __future__ import annotations

from tgpo.preflight.checks import check_models, check_student, examine, preflight
from tgpo.preflight.look import (
    longest_prompt,
    longest_scored,
    longest_sequence,
    most_shown,
    most_topk,
    objective_name,
    problems_met,
)

__all__ = [
    "check_models",
    "check_student",
    "examine",
    "longest_prompt",
    "longest_scored",
    "longest_sequence",
    "most_shown",
    "most_topk",
    "objective_name",
    "preflight",
    "problems_met",
]
