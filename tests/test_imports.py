"""Who may import whom: the design's order of rooms, read off the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tgpo"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each room imports only rooms above it in this list (and itself), imports inside functions included. A new module
# belongs to one of them, or gets a line of its own here.
ROOMS = (
    "errors", "seeds", "options",
    "types",  # what flows
    "runs",  # the files of a run and of a sweep
    "runtime",  # processes, threads, signals, profiles
    "functional", "objectives",  # pure maths on tensors; one file an objective
    "tasks", "metrics",  # problems and rewards; what is measured
    "models",  # loading, the student's forward pass, weights, vLLM engines
    "rollout",  # Problem -> Rollout
    "contexts", "teachers",  # what the teacher reads before the response; tokens -> TeacherSignal
    "config", "build",  # composed and checked; from a checked request to models
    "preflight", "evaluation", "demonstrations",
    "training",  # rollouts -> ScoredBatch -> loss -> step -> checkpoint, round and round
    "report", "divergence", "tiny",
    "api",  # what `import tgpo` offers
    "cli",  # commands
)  # fmt: skip
# Rooms that know less than their place would let them.
BESIDES = {
    "types": set(),
    "functional": {"types", "errors"},
    "objectives": {"types", "functional"},
    "tasks": {"errors", "types", "runs"},
    "contexts": {"errors", "options", "types", "models", "rollout"},
    "teachers": {"errors", "options", "types", "runtime", "functional", "models", "rollout", "contexts"},
    "report": {"errors", "types", "runs", "metrics"},  # reads files and no model code
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def of_ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("tgpo.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path):
    if path == PACKAGE / "__init__.py":
        return  # it names what is public, whatever room that lives in
    assert room(path) in ROOMS, "a module of no room"
    above = set(ROOMS[: ROOMS.index(room(path)) + 1])
    assert of_ours(path) <= above
    if room(path) in BESIDES and path.name != "__main__.py":  # a command joins the rooms
        assert of_ours(path) - {room(path)} <= BESIDES[room(path)]


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("vllm", {"vllm.py"}),
        ("wandb", {"wandb.py", "dashboard.py"}),
        ("hydra", {"config", "cli"}),
    ],
)
def test_packages_with_one_home(package, homes):
    users = [path for path in FILES if any(name.split(".")[0] == package for name in imported(path))]
    assert all({path.name, room(path)} & homes for path in users)


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
