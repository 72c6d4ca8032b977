"""The numbers in the pages are the committed results, and those come from their CSV or JSON."""

from __future__ import annotations

import json
import re

import pandas as pd

from experiments.engine_parity.__main__ import RESULTS as PARITY
from experiments.engine_parity.__main__ import table as parity_table
from experiments.enumerable.__main__ import RESULTS as NOISE
from experiments.enumerable.__main__ import markdown
from experiments.first_look.__main__ import RESULTS, table
from tests.compose import group_choices
from tests.conftest import ROOT
from tests.laws.variants import VARIANTS

README = (ROOT / "README.md").read_text()


def test_the_table_is_made_from_the_csv():
    assert table(pd.read_csv(RESULTS / "summary.csv")) == (RESULTS / "table.md").read_text()


def test_the_readme_shows_that_table():
    assert (RESULTS / "table.md").read_text() in README


def test_every_objective_is_in_the_readme():
    for name in group_choices("objective"):
        target = (ROOT / "conf" / "objective" / f"{name}.yaml").read_text().split("_target_: ")[1].split()[0]
        path = target.rpartition(".")[0].replace(".", "/") + ".py"
        assert f"[`{name}`]({path})" in README
        assert (ROOT / path).is_file()


def test_what_the_readme_links_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README):
        path = target[0] or target[1]
        assert (ROOT / path).exists(), path


def test_the_benchmarks_rows_are_made_from_the_json():
    """Read off the source, because TRL is installed for `make bench` alone."""
    row = json.loads((ROOT / "benchmarks" / "results" / "step_time.json").read_text())["comparisons"][0]
    shown = (ROOT / "benchmarks" / "README.md").read_text()
    assert f"| `{row['objective']}` | {row['against']} | {row['seconds_a_step']['trl']:.2f} |" in shown


def test_the_noise_table_is_made_from_the_csv_and_has_every_variant():
    found = pd.read_csv(NOISE / "noise.csv")
    assert set(found["objective"]) == set(VARIANTS)
    assert markdown(found) in (ROOT / "docs" / "objectives.md").read_text()


def test_every_objective_is_in_each_table_of_the_docs():
    _, what, expected, _, _ = (ROOT / "docs" / "objectives.md").read_text().split("\n## ")
    for name in group_choices("objective"):
        assert f"\n| `{name}` |" in what
        assert f"\n| `{name}` |" in expected


def test_the_cost_rows_are_made_from_the_json():
    record = json.loads((ROOT / "benchmarks" / "results" / "objective_cost.json").read_text())
    shown = (ROOT / "benchmarks" / "README.md").read_text()
    assert {row["objective"].split()[0] for row in record["rows"]} == set(group_choices("objective"))
    for row in record["rows"]:
        assert f"| `{row['objective']}` | {row['vocabulary']} | {row['seconds_a_step']:.2f} |" in shown


def test_the_engines_table_is_made_from_the_csv():
    found = (PARITY / "table.md").read_text()
    assert parity_table(pd.read_csv(PARITY / "summary.csv")) == found
    assert found in (ROOT / "experiments" / "engine_parity" / "README.md").read_text()


def test_the_vllm_rows_are_made_from_the_json():
    """Read off the source, because vLLM is not installed everywhere."""
    record = json.loads((ROOT / "benchmarks" / "results" / "vllm_rollout.json").read_text())
    ratio, shown = record["tokens_a_second"]["ours_over_bare"], (ROOT / "benchmarks" / "README.md").read_text()
    assert f"| {ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}] |" in shown


def test_what_shows_a_promise_exists():
    """Files and tests that docs/reliability.md names; `::test_x` alone is of the file named before it."""
    file, seen = ROOT, 0
    text = (ROOT / "docs" / "reliability.md").read_text()
    for name, test in re.findall(r"`(?:tests/)?([\w/]*\.py)?(?:::(\w+))?`", text):
        if not name and not test:
            continue
        file = ROOT / "tests" / name if name else file
        assert file.is_file(), name
        assert not test or f"def {test}(" in file.read_text(), f"{file.name}::{test}"
        seen += 1
    assert seen > 30
