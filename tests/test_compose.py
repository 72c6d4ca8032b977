"""How words of the command line become a configuration. Whose choices are right: test_config.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tgpo.config.compose import composed, quoted

NAMES = ["modèle", "a (b)", "0_objective=tgpo,seed=1", "it's", "50$", "a & b #1", "~x", r"back\slash", "[1]", "${seed}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_exists_is_taken_as_it_is(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    assert composed("config", [f"student.path={folder}"])["student"]["path"] == str(folder)


def test_what_is_no_path_stays_what_it_is():
    seeds = "seed=" + ",".join(map(str, range(2000)))  # longer than a path may be
    for word in (seeds, "objective.weight=[0.5,0.1,0.0]", "seed=0,1", "-m", "student.path="):
        assert quoted(word) == word


def test_it_composes_in_any_folder(tmp_path):
    """Hydra finds the sweeper's class only from the folder of run.py; the configuration names it all the same."""
    asked = "from tgpo.config.compose import composed; composed('config', [])"
    subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, check=True, timeout=60)
