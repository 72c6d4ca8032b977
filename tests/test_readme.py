"""The README's numbers are the committed results, and those come from their CSV."""

from __future__ import annotations

import pandas as pd

from experiments.first_look.__main__ import RESULTS, table
from tests.compose import group_choices
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_table_is_made_from_the_csv():
    assert table(pd.read_csv(RESULTS / "summary.csv")) == (RESULTS / "table.md").read_text()


def test_the_readme_shows_that_table():
    assert (RESULTS / "table.md").read_text() in README


def test_every_objective_is_in_the_readme():
    for name in group_choices("objective"):
        assert f"[`{name}`](tgpo/objectives/{name}.py)" in README
        assert (ROOT / "tgpo" / "objectives" / f"{name}.py").is_file()


def test_what_the_readme_links_to_exists():
    import re

    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README):
        path = target[0] or target[1]
        assert (ROOT / path).exists(), path


def test_the_benchmarks_rows_are_made_from_the_json():
    """Read off the source, because TRL is installed for `make bench` alone."""
    import json

    row = json.loads((ROOT / "benchmarks" / "results" / "step_time.json").read_text())["comparisons"][0]
    shown = (ROOT / "benchmarks" / "README.md").read_text()
    assert f"| `{row['objective']}` | {row['against']} | {row['seconds_a_step']['trl']:.2f} |" in shown
