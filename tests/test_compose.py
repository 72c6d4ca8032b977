"""How words of the command line become a configuration. Whose choices are right: test_config.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.compose import CONF
from tgpo.config.compose import composed, prepared, quoted

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


def test_an_experiment_is_named_without_its_folder_and_by_what_it_was_called():
    assert prepared("experiment=compare") == "experiment=compare"
    assert prepared("experiment=length,paper_7b") == "experiment=ablation/length,paper/7b"
    assert prepared("experiment=ablation_weight") == "experiment=ablation/weight"
    assert prepared("experiment=ablation/weight") == "experiment=ablation/weight"
    assert prepared("experiment=nope") == "experiment=nope"
    names = [path.stem for path in (CONF / "experiment").rglob("*.yaml")]
    assert len(set(names)) == len(names)


def test_an_older_name_of_a_group_is_todays():
    assert prepared("tuning=paper") == "scale=paper"
    assert prepared("+tuning.tgpo.weight=[0.1,0.0,0.0]") == "+scale.tgpo.weight=[0.1,0.0,0.0]"
    assert prepared("tuned=rkl") == "tuned=rkl"


def test_it_composes_in_any_folder(tmp_path):
    """Hydra finds the sweeper's class only from the folder of run.py; the configuration names it all the same."""
    asked = "from tgpo.config.compose import composed; composed('config', [])"
    subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, check=True, timeout=60)
