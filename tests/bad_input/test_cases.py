"""Every case of the table: exit code 2, one line that says what is wrong, at once, and nothing written anywhere."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from tests.bad_input.cases import CASES, module_of
from tests.bad_input.places import Places
from tests.conftest import called

SECONDS = 60  # 10 are promised to a person; this catches what begins the work it should refuse


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Places:
    return Places(tmp_path_factory.mktemp("places"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Relative paths are below an empty folder, which stays."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(("program", "arguments", "words"), CASES, ids=lambda text: text[:60])
def test_one_line_and_exit_code_2(program, arguments, words, places, elsewhere):
    arguments, words = places.fill(arguments), places.fill(words)
    before, started = listed(places.root), time.monotonic()
    code, out, err = called(*shlex.split(arguments), module=module_of(program))
    assert (code, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert len(line) < 1_200
    assert time.monotonic() - started < SECONDS
    assert listed(places.root) == before
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("given", ["a/b/c", "there", "there/b/c"])
def test_a_refused_request_takes_away_what_it_made_and_nothing_else(given, elsewhere):
    (elsewhere / "there").mkdir()
    assert called("teacher=none", f"output_dir={given}").returncode == 2
    assert [str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*")] == ["there"]


@pytest.mark.parametrize("program", sorted({case[0] for case in CASES}))
def test_help_is_no_mistake(program, elsewhere):
    code, out, err = called("--help", module=module_of(program))
    assert (code, err) == (0, "")
    assert "\n" in out.strip()
    assert list(elsewhere.iterdir()) == []


def test_the_table_has_no_case_twice():
    assert len({case[:2] for case in CASES}) == len(CASES) >= 80
