from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.report.made import make_run
from tgpo.errors import RequestError
from tgpo.report.collect import read_run
from tgpo.report.page import render, table
from tgpo.report.run_figures import panels_by_teacher, run_panels
from tgpo.report.sweep_page import write_sweep_report


@pytest.fixture
def run(tmp_path):
    """A run that was killed while it wrote a line, and measured little."""
    (tmp_path / "config.yaml").write_text(
        "name: x\nseed: 1\nchoices: {objective: tgpo}\nstudent: {name: s}\nteacher: {name: t}\n"
        "rollout: {max_response_length: 9}\ntrain: {steps: 5}\n"
    )
    lines = [
        {"kind": "eval", "step": 0, "eval/arithmetic/accuracy": 0.5},
        {"kind": "train", "step": 1, "reward/mean": 0.25, "gradient/norm": 2.0},
        {"kind": "train", "step": 2, "reward/mean": 0.5, "gradient/norm": None},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"kind": "tra'
    (tmp_path / "metrics.jsonl").write_text(text)
    return read_run(tmp_path)


def test_an_unfinished_run_is_read_as_far_as_it_got(run):
    assert run.task == "arithmetic"
    assert list(run.train["reward/mean"]) == [0.25, 0.5]
    assert list(run.accuracy()["accuracy"]) == [0.5]
    assert len(table(run)) == 1


def test_only_what_was_measured_is_drawn(run):
    assert [panel.slug for panel in run_panels(run)] == ["accuracy", "reward", "gradient-norm"]
    page = render(run, run_panels(run))
    assert "plot-accuracy" in page
    assert "None were kept" in page


def test_every_panel_becomes_an_svg(run):
    for panel in run_panels(run):
        assert panel.svg().startswith("<svg")


def test_a_broken_line_in_the_middle_is_said(run):
    path = run.path / "metrics.jsonl"
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(RequestError, match="line 1 is not JSON"):
        read_run(run.path)


def test_a_run_stopped_before_its_first_record_still_has_a_page(run):
    (run.path / "metrics.jsonl").unlink()
    empty = read_run(run.path)
    assert run_panels(empty) == []
    page = render(empty, []).split("<script>")[0]
    assert "plot-" not in page
    assert "s learns from t, seed 1" in page
    empty.config["choices"]["task"] = "chain_sum"
    assert "s learns from t on chain_sum, seed 1" in render(empty, [])


def test_a_run_of_many_steps_is_drawn_thinned_and_a_sweep_of_them_too(tmp_path):
    """Altair refuses more than 5,000 rows by itself, which three lines of 1,700 steps are."""
    for objective in ("tgpo", "grpo", "rkl"):
        make_run(tmp_path, objective, steps=2_500)
    (panel,) = [p for p in run_panels(read_run(tmp_path / "tgpo_0")) if p.slug == "gradient-norm"]
    assert panel.caption.endswith("One step in 3 is drawn.")
    (drawn,) = panel.spec()["datasets"].values()
    steps = [row["step"] for row in drawn]
    assert (steps[0], steps[-1], len(steps)) == (1, 2_500, 834)
    assert "<path" in panel.svg()
    assert write_sweep_report([tmp_path], say=lambda _: None).is_file()


def test_a_few_steps_are_all_drawn(tmp_path):
    panels = run_panels(read_run(make_run(tmp_path, steps=999)))
    assert all("is drawn" not in panel.caption for panel in panels)


def test_several_teachers_have_a_line_each():
    """The first has no problem in the second step: its line has a gap there, and no 0."""
    train = pd.DataFrame({"step": [1, 2], "teacher/a/token_share": [0.25, 0.0], "teacher/b/token_share": [0.75, 1.0],
                          "teacher/a/reverse_kl_k1": [2.0, None], "teacher/b/reverse_kl_k1": [1.0, 0.5]})  # fmt: skip
    share, divergence, reward = panels_by_teacher(train)
    assert (share.slug, divergence.slug, reward) == ("teachers-token-share", "teachers-reverse-kl-k1", None)
    drawn = divergence.layers[0].data
    assert sorted(zip(drawn["series"], drawn["step"], drawn["value"], strict=True)) == [
        ("a", 1, 2.0), ("b", 1, 1.0), ("b", 2, 0.5)
    ]  # fmt: skip
    assert not any(panels_by_teacher(train[["step"]]))
