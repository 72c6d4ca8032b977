"""What is committed of an experiment is what its numbers make; its sweep, its page and its folder go by one name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments.catalogue import CATALOGUE, MEASURED
from experiments.gradient_variance.__main__ import jackknifed, log_ratio, noise
from experiments.published import read_published, write_published_page
from experiments.results import further, publish
from experiments.run import commands
from experiments.tables import Experiment, figure, labelled, tables
from tests.compose import composed, group_choices
from tests.conftest import ROOT
from tests.report.made import make_run
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.report.collect import read_run

PUBLISHED = sorted(name for name, found in CATALOGUE.items() if (found.folder / "runs.csv").is_file())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_is_made_from_the_committed_runs(name):
    experiment = CATALOGUE[name]
    runs = pd.read_csv(experiment.folder / "runs.csv")
    assert tables(runs, experiment) == (experiment.folder / "table.md").read_text()
    made = json.loads((experiment.folder / "manifest.json").read_text())
    assert made["runs_done"] == len(runs) <= sum(sitting["runs_done"] for sitting in made["sittings"])
    assert figure(runs, experiment).startswith("<svg")


def swept(folder: Path, seeds: Sequence[int]) -> Path:
    """Runs of two objectives at two students, as a sweep leaves them."""
    for n, (seed, student, name) in enumerate(product(seeds, ("tiny-near", "tiny-far"), ("GRPO", "RKL"))):
        more = {"objective._target_": f"tgpo.objectives.{name.lower()}.{name}"}
        run = make_run(
            folder, name.lower(), seed, 0.5 + 0.01 * n, student=student, more=more, name=str(n), started=seed
        )
        config = yaml.safe_load((run / "config.yaml").read_text())
        del config["objective"]["weight"]  # which these two do not have
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        (run / "report").mkdir()
        (run / "report" / "report.html").write_text("the run's own page")
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_page_is_made_from_what_is_committed(name, monkeypatch):
    """All runs on one page: the arms of the table, their means, and curves of as many runs as there are."""
    # the intervals take most of the time, and tests/report/test_statistics.py is about them
    monkeypatch.setattr("tgpo.report.statistics.compare", lambda *_: pd.DataFrame())
    experiment = CATALOGUE[name]
    sweep, curves = read_published(experiment)
    runs = labelled(pd.read_csv(experiment.folder / "runs.csv"), experiment)
    by = ["arm", *([experiment.across] if experiment.across else [])]
    expected = runs.groupby(by)["final accuracy"].agg(["mean", "count"])
    means = {arm.label: np.mean([m.numbers["final accuracy"] for m in sweep.arm_members(arm)]) for arm in sweep.arms}
    found = [(means[arm.label], len(sweep.arm_members(arm))) for arm in sweep.arms]
    assert sorted(found) == [
        (pytest.approx(mean), count) for mean, count in expected.sort_values(["mean", "count"]).to_numpy()
    ]
    final = curves.band(f"eval/{sweep.task}/accuracy").groupby("arm").last()
    for arm in sweep.arms:
        # five digits are published, and of three arms the band holds a run that was made again
        assert final.loc[arm.label, "mean"] == pytest.approx(means[arm.label], abs=0.02)
        assert final.loc[arm.label, "runs"] >= len(sweep.arm_members(arm))


def test_a_published_page_needs_no_runs(tmp_path, monkeypatch):
    shutil.copytree(CATALOGUE["schedule"].folder, tmp_path / "results" / "schedule")
    monkeypatch.setattr("experiments.tables.ROOT", tmp_path)
    page = write_published_page(CATALOGUE["schedule"]).read_text()
    assert "<code>make page EXP=schedule</code>" in page and "<code>make reproduce EXP=schedule</code>" in page
    assert "30" in re.search(r"runs that count</span><strong>(\d+)", page)[1]  # of two sittings
    assert not re.search(r"<a [^>]*report\.html", page)


@pytest.mark.slow  # publishes four times
def test_an_experiment_in_two_sittings_is_one_in_a_single_one(tmp_path, monkeypatch):
    """On two machines, say: the second has the first one's published rows and none of its runs."""
    experiment = Experiment("made", across="student")
    first, second, whole = (tmp_path / name for name in ("first", "second", "whole"))
    swept(whole / "a", [0, 1]), swept(whole / "b", [2]), swept(first / "a", [0, 1]), swept(second / "b", [2])
    monkeypatch.setattr("experiments.tables.ROOT", tmp_path / "at once")
    publish(experiment, [whole])
    at_once, at_once_curves = experiment.folder, read_published(experiment)[1]
    monkeypatch.setattr("experiments.tables.ROOT", tmp_path)
    publish(experiment, [first])
    shutil.rmtree(first)
    for _ in range(2):  # the same sweep again stands once
        publish(experiment, [second], add=True)
        for name in ("table.md", "figure.svg"):
            assert (experiment.folder / name).read_text() == (at_once / name).read_text()
        runs, expected = (pd.read_csv(folder / "runs.csv") for folder in (experiment.folder, at_once))
        assert list(runs["sitting"]) == [1 + (seed == 2) for seed in runs["seed"]]
        of_the_sitting = ["sitting", "run"]  # which folder a run was in is another
        pd.testing.assert_frame_equal(runs.drop(columns=of_the_sitting), expected.drop(columns=of_the_sitting))
        curves = read_published(experiment)[1]
        for metric in ("eval/arithmetic/accuracy", "gradient/norm"):
            bands = [c.band(metric).sort_values(["arm", "step"], ignore_index=True) for c in (curves, at_once_curves)]
            pd.testing.assert_frame_equal(*bands)
            assert set(bands[0]["runs"]) == {3}
        made = json.loads((experiment.folder / "manifest.json").read_text())
        assert made["runs_done"] == 12
        assert [(sitting["runs_done"], sitting["seeds"]) for sitting in made["sittings"]] == [(8, [0, 1]), (4, [2])]


@pytest.mark.slow  # writes a whole report
def test_arms_without_an_option_and_tables_without_their_baseline(tmp_path, monkeypatch):
    """As a sweep leaves it that was cut off before its other arms."""
    monkeypatch.setattr("experiments.tables.ROOT", tmp_path)
    experiment = Experiment("made", rows=("objective", "objective.topk"), baseline="tgpo")
    swept(tmp_path / "sweep" / "a", [0])
    publish(experiment, [tmp_path / "sweep"])
    assert "minus" not in (experiment.folder / "table.md").read_text()
    runs = pd.read_csv(experiment.folder / "runs.csv").assign(**{"objective.topk": [5.0, None, None, None]})
    assert set(labelled(runs, experiment)["arm"]) == {"grpo topk=5", "grpo", "rkl"}


def test_what_a_run_spent_counts_what_was_sampled_and_asked(tmp_path):
    """`luffy` samples seven of eight responses; a teacher that is never right was asked all the same."""
    more = {"objective._target_": "tgpo.objectives.luffy.LUFFY", "rollout.prompts_per_batch": 2}
    path = make_run(tmp_path, "luffy", more=more)
    config = yaml.safe_load((path / "config.yaml").read_text())
    del config["objective"]["weight"]
    config["task"] = check(composed("output_dir=unused")).resolved["task"]
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "demonstrations").mkdir()
    (path / "demonstrations" / "recipe.json").write_text('{"keep": 1, "attempts": 3}')
    kept = pd.DataFrame({"problem_id": ["one"], "response_ids": [[1, 2, 3, 4, 5]]})
    kept.to_parquet(path / "demonstrations" / "part-00000-0.parquet")
    spent = further(read_run(path))
    assert spent["generated tokens"] == (31 + 32 + 33 + 34) * 2 * 7  # mean lengths of four steps
    assert spent["tokens the teacher wrote"] == 4 * 2 * 3 * 5  # steps, problems, attempts, tokens


def test_sweeps_that_are_added_are_named():
    said = subprocess.run(
        [sys.executable, "-m", "experiments", "length", "--add", "no/such"], cwd=ROOT, capture_output=True, text=True
    )
    assert (said.returncode, said.stderr.splitlines()[-1]) == (2, "error: no/such: no such directory")
    with pytest.raises(RequestError, match="--add: say which sweeps"):
        publish(Experiment("made"), [], add=True)


def test_columns_are_in_the_order_of_their_number_and_not_of_its_digits():
    gaps = {"far": 10.2, "near": 9.8, "same": 0.2}
    same = {"objective": "tgpo", "seed": 0, "final accuracy": 0.5, "base accuracy": 0.0}
    runs = pd.DataFrame([same | {"student": f"tiny-{name}", "gap": gap} for name, gap in gaps.items()])
    runs.loc[len(runs)] = same | {"student": "tiny-near", "seed": 1, "gap": 90.0}  # a seed that the others lack
    experiment = Experiment("made", across="student", order="gap")
    header = [cell.strip() for cell in tables(runs, experiment).splitlines()[0].split("|")[2:-1]]
    assert header == ["0.2 same", "9.8 near", "10.2 far"]
    drawn = figure(runs, experiment)
    assert drawn.index("0.2 same") < drawn.index("9.8 near") < drawn.index("10.2 far")


@pytest.mark.parametrize("name", [*CATALOGUE, *MEASURED])
def test_every_experiment_has_its_sweeps_and_its_page(name):
    swept = {word.partition("=")[2] for command in commands(name) for word in command if word.startswith("experiment=")}
    assert swept <= set(group_choices("experiment"))
    assert bool(swept) == (name in CATALOGUE)
    page = (ROOT / "experiments" / name / "README.md").read_text()
    for part in ("**Question.**", "**Prediction", "**Command.**", "**What came out.**", "**What it does not show.**"):
        assert part in page, part
    assert f"make reproduce EXP={name}" in page


def test_noise_and_signal_are_unbiased_and_their_interval_covers():
    """Gradients of known mean and covariance: 300 experiments of 32 batches, ratio 4."""
    rng = np.random.default_rng(0)
    mean_P = np.full(50, 0.1)  # its square is 0.5
    found, covered = [], 0
    for _ in range(300):
        gradients_NP = mean_P + 0.2 * rng.standard_normal((32, 50))  # the trace is 2
        gram_NN = gradients_NP @ gradients_NP.T
        found.append(noise(gram_NN))
        low, high = jackknifed(gram_NN, log_ratio)
        covered += low <= np.log(4) <= high
    # standard errors of the two means: below 0.005 and 0.01
    assert np.mean([f["trace"] for f in found]) == pytest.approx(2, abs=0.02)
    assert np.mean([f["signal"] for f in found]) == pytest.approx(0.5, abs=0.03)
    assert 0.91 <= covered / 300 <= 0.99  # 95 %, three standard errors either way
