"""What is committed of an experiment is what its numbers make; its sweep, its page and its folder go by one name."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from experiments.catalogue import CATALOGUE, MEASURED
from experiments.gradient_variance.__main__ import jackknifed, log_ratio, noise
from experiments.run import commands
from experiments.tables import Experiment, figure, tables
from tests.compose import group_choices
from tests.conftest import ROOT

PUBLISHED = sorted(name for name, found in CATALOGUE.items() if (found.folder / "runs.csv").is_file())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_is_made_from_the_committed_runs(name):
    experiment = CATALOGUE[name]
    runs = pd.read_csv(experiment.folder / "runs.csv")
    assert tables(runs, experiment) == (experiment.folder / "table.md").read_text()
    assert json.loads((experiment.folder / "manifest.json").read_text())["runs_done"] == len(runs)
    assert figure(runs, experiment).startswith("<svg")


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
