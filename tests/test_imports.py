"""Who may import whom: design rules read off the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tgpo"
FILES = sorted(PACKAGE.rglob("*.py"))
FOUNDATION = {"types", "errors"}
MAY_IMPORT = {
    "types": set(),
    "errors": set(),
    "functional": FOUNDATION,
    "objectives": FOUNDATION | {"functional"},
    "tasks": FOUNDATION | {"rundir"},
    "distributed": FOUNDATION,
    "seeds": set(),
    "passes": set(),
    "profile": FOUNDATION | {"rundir"},
    "weights": FOUNDATION | {"options"},
    "rollout": FOUNDATION | {"functional", "models", "options", "vllm", "weights"},
    "teachers": FOUNDATION | {"functional", "models", "passes", "options", "vllm"},
    "policy": FOUNDATION | {"functional", "models"},
    "models": FOUNDATION,
    "vllm": FOUNDATION | {"models", "options"},
    "sharded": FOUNDATION | {"distributed", "tasks", "rollout", "teachers", "policy"},
    "engine": FOUNDATION
    | {"distributed", "seeds", "profile", "functional", "objectives", "tasks", "rollout", "teachers", "policy"},
    "metrics": FOUNDATION | {"distributed"},
    "report": FOUNDATION | {"rundir"},
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_parts_import_only_what_lies_before_them(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("tgpo.")}
    allowed = MAY_IMPORT.get(part(path))
    if allowed is not None and path.name != "__main__.py":  # a command joins the parts
        assert ours - {part(path)} <= allowed


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("vllm", {"vllm.py"}),
        ("wandb", {"wandb.py", "dashboard.py"}),
        ("hydra", {"run.py", "config.py", "compose.py", "command.py"}),
    ],
)
def test_packages_with_one_home(package, homes):
    users = {path.name for path in FILES if any(name.split(".")[0] == package for name in imported(path))}
    assert users <= homes


def test_objectives_are_protocol_and_small_files():
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 150, path.name


def test_nothing_asks_which_objective_runs():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                assert not ("objective" in names and texts), f"{path.name}:{node.lineno}"
