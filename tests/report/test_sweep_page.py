from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tests.report.made import make_run, make_sweep
from tgpo.report.comparison import read_sweep
from tgpo.report.curves import RecordedCurves
from tgpo.report.frames import records_frame
from tgpo.report.page import write_report
from tgpo.report.sweep_figures import DASHES, decades, styles, sweep_panels, thin
from tgpo.report.sweep_page import format_number, p_value, write_sweep_report

pytestmark = pytest.mark.slow  # each writes a whole report

SCRIPT = "</script><script>alert(1)</script>"


class Tags(HTMLParser):
    """Counts elements and keeps what they name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.elsewhere: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.elsewhere += [value for name, value in attrs if name in ("src", "href") and "://" in (value or "")]


def tags(page) -> Tags:
    found = Tags()
    found.feed(page.read_text())
    return found


def slugs(folder) -> list[str]:
    sweep = read_sweep([folder])
    return [
        panel.slug
        for section in sweep_panels(sweep, RecordedCurves(records_frame(sweep))).values()
        for panel in section
    ]


@pytest.fixture
def quiet():
    return lambda folder: write_sweep_report([folder], say=lambda _: None)


def test_what_models_and_failures_write_stays_text(tmp_path, quiet):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 7, status="failed", reason=SCRIPT, name="a<img src=x onerror=alert(2)>")
    make_run(tmp_path, f"x{SCRIPT.replace('/', '')}", 0, name="b")
    found = tags(quiet(tmp_path))
    assert found.names.count("script") == 2  # vega's, and the page's own
    assert "img" not in found.names


def test_a_rollout_with_a_script_in_it_stays_text(tmp_path):
    run = make_run(tmp_path)
    sample = {"step": 1, "prompt": SCRIPT, "answer": SCRIPT, "response": SCRIPT, "reward": 1.0, "length": 3,
              "finish_reason": "eos"}  # fmt: skip
    (run / "rollouts.jsonl").write_text(json.dumps(sample) + "\n")
    page = write_report(run)
    assert tags(page).names.count("script") == 2
    assert page.read_text().count("&lt;script&gt;alert(1)") == 3


def test_the_page_needs_nothing_from_elsewhere(tmp_path, quiet):
    found = tags(quiet(make_sweep(tmp_path)))
    assert found.elsewhere == []
    assert "link" not in found.names


def test_every_panel_has_its_svg_beside_the_page(tmp_path, quiet):
    folder = quiet(make_sweep(tmp_path)).parent
    expected = ["forest-accuracy", "forest-length", "length-accuracy", "accuracy", "reward", "length", "truncation",
                "gradient-norm", "gradient-variance", "gradient-snr", "divergence"]  # fmt: skip
    assert slugs(tmp_path) == expected
    for slug in expected:
        assert (folder / f"{slug}.svg").read_text().startswith("<svg")


def test_the_policy_gap_is_drawn_where_students_differ(tmp_path):
    for gap, student in ((1.0, "near"), (7.0, "far")):
        for objective in ("grpo", "tgpo"):
            for seed in (0, 1):
                make_run(tmp_path / student, objective, seed, student=student, gap=gap)
    assert "policy-gap" in slugs(tmp_path)


def test_unfinished_runs_are_drawn_apart_from_the_means(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 9, final=0.0, status="failed")
    sweep = read_sweep([tmp_path])
    (panel,) = (p for p in sweep_panels(sweep, RecordedCurves(records_frame(sweep)))["curves"] if p.slug == "accuracy")
    rows = [row for data in panel.spec()["datasets"].values() for row in data]
    means = [row["mean"] for row in rows if row.get("arm") == "rkl" and "mean" in row and row["step"] == 4]
    alone = [row["value"] for row in rows if row.get("run") == "rkl_9" and row["step"] == 4]
    assert means == [pytest.approx(0.617)]
    assert set(alone) == {0.0}


def test_the_page_tells_how_to_make_it_again(tmp_path, quiet):
    page = quiet(make_sweep(tmp_path)).read_text()
    assert "<code>python run.py -m x</code>" in page
    assert f"<code>python -m tgpo.report {tmp_path}</code>" in page
    assert "python run.py objective=tgpo seed=2" in page


def test_colours_are_the_objectives_and_dashes_tell_their_arms_apart(tmp_path):
    for weight in (0.0, 0.5):
        for objective in ("kdrl", "tgpo"):
            more, overrides = {"objective.weight": weight}, (f"objective.weight={weight}",)
            make_run(tmp_path, objective, more=more, overrides=overrides, name=f"{objective}{weight}")
    found = styles(read_sweep([tmp_path]).arms)
    assert found["tgpo weight=0"].colour == found["tgpo weight=0.5"].colour != found["kdrl weight=0"].colour
    assert found["tgpo weight=0"].dash != found["tgpo weight=0.5"].dash


def test_thirty_arms_have_thirty_looks(tmp_path):
    for i in range(6 * len(DASHES)):
        make_run(tmp_path, f"objective{i}")
    looks = {(style.colour, tuple(style.dash)) for style in styles(read_sweep([tmp_path]).arms).values()}
    assert len(looks) == 6 * len(DASHES)


def test_numbers_are_short():
    assert format_number(-0.5, "+.3f") == "−0.500"
    assert [format_number(value, "3 digits") for value in (2093.4, 2.638, 0.00012345)] == ["2,090", "2.64", "0.000123"]
    assert [p_value(p) for p in (0.0004, 0.05, None, float("nan"))] == ["< 0.001", "0.050", "–", "–"]


def test_long_curves_are_thinned_and_keep_their_end():
    import pandas as pd

    long = thin(pd.DataFrame({"step": range(1, 302), "value": 0.0}))
    assert len(long) <= 150
    assert long["step"].max() == 301


def test_ticks_of_a_log_axis_are_powers_of_ten():
    import pandas as pd

    means, none = pd.DataFrame({"low": [0.2], "high": [30.0]}), pd.DataFrame({"value": []})
    assert decades(means, none) == [0.1, 1, 10, 100]
    assert decades(pd.DataFrame({"low": [2.0], "high": [3.0]}), none) is None


def test_the_tables_are_beside_the_page(tmp_path, quiet):
    text = (quiet(make_sweep(tmp_path)).parent / "table.md").read_text()
    assert re.search(r"\| `rkl` +\| 4 of 4 .*−0\.298", text)
