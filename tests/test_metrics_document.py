"""docs/metrics.md against what steps and evaluations really write, and against the code it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.compose import group_choices
from tests.conftest import ROOT
from tests.e2e.test_run import EVAL_NAMES, TRAIN_NAMES
from tests.parts import small
from tgpo.training.loop import evaluation_record

ROW = re.compile(r"^\| `([^`]+)` \|(.*)\| ([^|]*) \|$", re.M)
TEXT = (ROOT / "docs" / "metrics.md").read_text()
DOCUMENTED = {name: source for name, _, source in ROW.findall(TEXT)}
# each objective's default, and the options that add a name
RUNS = [[f"objective={name}"] for name in group_choices("objective")] + [
    ["objective=tgpo", "objective.weighting=adaptive"],
    ["objective=grpo", "rollout.old_logprobs=recompute"],
    ["objective=grpo", "objective.reference_kl=0.01"],
    ["objective=rkl", "teacher.context=solution"],
    ["objective=rkl", "teachers=tiny-specialists"],
]


def general(name: str) -> str:
    """As the page writes it: any task, any teacher, any k."""
    name = re.sub(r"^eval/[^/]+/", "eval/<task>/", name)
    return re.sub(r"@\d+$", "@k", re.sub(r"^teacher/[^/]+/", "teacher/<name>/", name))


@pytest.mark.slow
def test_every_name_a_run_writes_is_documented_and_every_documented_name_is_written():
    written: set[str] = set()
    for overrides in RUNS:
        parts = small(*overrides, "task.eval_two_terms=4", "task.eval_more_terms=4")
        record, _ = parts.trainer.step(1)
        written |= {general(name) for name in record}
        assert set(map(general, record)) <= set(DOCUMENTED), overrides
    written |= set(map(general, evaluation_record(parts, 0))) - {"kind"}
    assert written == set(DOCUMENTED)


def test_every_name_of_the_contract_is_documented():
    assert set(map(general, [*TRAIN_NAMES, *EVAL_NAMES])) <= set(DOCUMENTED)


def test_what_computes_it_is_where_the_page_says():
    for name, source in DOCUMENTED.items():
        (file, function) = re.search(r"`([\w/.*]+):(\w+)`", source).groups()
        paths = list((ROOT / "tgpo").glob(file))
        assert paths, f"{name}: {file}"
        assert any(function in defined(path) for path in paths), f"{name}: {file}:{function}"


def defined(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_name_has_a_unit_and_a_definition():
    for name, cells, _ in ROW.findall(TEXT):
        unit, definition = (cell.strip() for cell in cells.split("|"))
        assert definition, name
        assert unit or name == "gradient/variance_method", name
