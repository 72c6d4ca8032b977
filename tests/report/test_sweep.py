from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.report.made import METRICS, make_run, make_sweep
from tgpo.errors import RequestError
from tgpo.report.comparison import read_sweep
from tgpo.report.sweep_page import write_sweep_report

pytestmark = pytest.mark.slow  # each writes a whole report


def test_differences_are_paired_by_seed(tmp_path):
    sweep = read_sweep([make_sweep(tmp_path)])
    (rkl,) = (sweep.row("final accuracy", arm) for arm in sweep.arms if arm.label == "rkl")
    assert sweep.baseline == "grpo"
    assert rkl["difference"] == pytest.approx(-0.298)
    # seeds differ by 0.03, but alike in both arms: what is left is the 0.004 of every second one
    assert rkl["difference_high"] - rkl["difference_low"] < 0.01
    assert rkl["mean_high"] - rkl["mean_low"] > 0.03
    assert (rkl["runs"], rkl["pairs"], rkl["probability"]) == (4, 4, 0.0)


def test_only_seeds_that_both_have_are_paired(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 9, 0.99)
    sweep = read_sweep([tmp_path])
    row = sweep.row("final accuracy", next(arm for arm in sweep.arms if arm.label == "rkl"))
    assert (row["runs"], row["pairs"]) == (5, 4)
    assert row["difference"] == pytest.approx(-0.298)


def test_unfinished_runs_are_listed_and_do_not_count(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 7, 0.99, status="failed", reason="RuntimeError: out of memory")
    make_run(tmp_path, "rkl", 8, 0.99, status="running")
    make_run(tmp_path, "sft", 0, 0.99, status="interrupted")
    said: list[str] = []
    write_sweep_report([tmp_path], say=said.append)
    sweep = read_sweep([tmp_path])
    assert [(m.name, m.reason) for m in sweep.of("unfinished")] == [
        ("rkl_7", "RuntimeError: out of memory"), ("rkl_8", "still running, or killed"), ("sft_0", ""),
    ]  # fmt: skip
    assert sweep.row("final accuracy", sweep.arms[1])["runs"] == 4
    assert "failed at step 4: rkl_7 (RuntimeError: out of memory)" in said
    assert said[-1] == "12 of 15 runs count, in 4 arms"
    page = (tmp_path / "report" / "report.html").read_text()
    assert "rkl_7" in page and "RuntimeError: out of memory" in page and "sft_0" in page


def test_of_two_runs_with_one_seed_the_newer_finished_one_counts(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 0, 0.1, name="older", started=0.5)
    make_run(tmp_path, "rkl", 1, 0.1, name="newer", started=2.0)
    make_run(tmp_path, "rkl", 2, 0.1, name="failed", started=3.0, status="failed")
    sweep = read_sweep([tmp_path])
    standing = {m.name: m.standing for m in sweep.members}
    assert (standing["older"], standing["rkl_0"]) == ("again", "counted")
    assert (standing["newer"], standing["rkl_1"]) == ("counted", "again")
    assert (standing["failed"], standing["rkl_2"]) == ("unfinished", "counted")
    assert [str(note) for note in sweep.notes] == [
        "the same seed and overrides as newer, which is newer and counts: rkl_1",
        "the same seed and overrides as rkl_0, which is newer and counts: older",
    ]


def test_runs_on_another_task_are_named_and_can_be_chosen(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "grpo", 0, 0.8, task="chain_sum", name="other")
    sweep = read_sweep([tmp_path])
    assert sweep.task == "arithmetic"
    assert "on another task (chain_sum), not compared here, compare these with --task chain_sum: other" in map(
        str, sweep.notes
    )
    chosen = read_sweep([tmp_path], task="chain_sum")
    assert [m.name for m in chosen.of("counted")] == ["other"]
    with pytest.raises(RequestError, match="did you mean 'chain_sum'"):
        read_sweep([tmp_path], task="chain_sums")


def test_further_benchmarks_of_a_run_are_compared_beside_its_own(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "grpo", seed, 0.8, tasks=("math500",))
        make_run(tmp_path, "rkl", seed, 0.6, tasks=("math500",))
    sweep = read_sweep([tmp_path])
    assert sweep.task == "arithmetic"
    assert sweep.row("final accuracy, math500", sweep.arms[1])["difference"] == pytest.approx(-0.2)
    folder = write_sweep_report([tmp_path], say=lambda _: None).parent
    assert "Accuracy on math500" in (folder / "report.html").read_text()


def test_a_run_without_a_seed_is_named(tmp_path):
    make_sweep(tmp_path)
    path = tmp_path / "rkl_0" / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "lead: 0"))
    assert any("no seed" in note.text and note.names == ("rkl_0",) for note in read_sweep([tmp_path]).notes)


def test_the_baseline_can_be_any_arm_and_must_be_one(tmp_path):
    make_sweep(tmp_path)
    assert read_sweep([tmp_path], baseline="tgpo").baseline == "tgpo"
    with pytest.raises(RequestError, match="did you mean 'tgpo'"):
        read_sweep([tmp_path], baseline="tgpp")


def test_without_grpo_the_first_arm_is_the_baseline(tmp_path):
    for objective in ("tgpo", "rkl"):
        make_run(tmp_path, objective)
    assert read_sweep([tmp_path]).baseline == "rkl"


def test_nothing_is_written_for_a_wrong_request(tmp_path):
    make_sweep(tmp_path)
    with pytest.raises(RequestError):
        write_sweep_report([tmp_path], baseline="nonesuch", say=print)
    assert not (tmp_path / "report").exists()


def test_the_frames_hold_every_record_of_every_run(tmp_path):
    make_sweep(tmp_path)
    make_run(tmp_path, "rkl", 7, status="failed")
    make_run(tmp_path, "grpo", 0, task="chain_sum", name="other")
    folder = write_sweep_report([tmp_path], say=lambda _: None).parent
    records = pd.read_parquet(folder / "records.parquet")
    written = sum(len(path.read_text().splitlines()) for path in tmp_path.glob("*/metrics.jsonl"))
    assert len(records) == written
    assert set(METRICS) <= set(records)
    pd.testing.assert_frame_equal(records, pd.read_csv(folder / "records.csv"), check_dtype=False)
    one = records[(records["run"] == "tgpo_2") & (records["kind"] == "train") & (records["step"] == 3)]
    lines = [json.loads(line) for line in (tmp_path / "tgpo_2" / "metrics.jsonl").read_text().splitlines()]
    (line,) = (line for line in lines if line["kind"] == "train" and line["step"] == 3)
    assert one[list(METRICS)].iloc[0].to_dict() == {name: line[name] for name in METRICS}
    assert one[["arm", "objective", "seed", "overrides"]].iloc[0].tolist() == [
        "tgpo",
        "tgpo",
        2,
        "objective=tgpo seed=2",
    ]
    runs = pd.read_csv(folder / "runs.csv")
    assert len(runs) == 14
    assert set(runs["standing"]) == {"counted", "unfinished", "other task"}


def test_a_sweep_without_a_finished_run_still_has_a_page(tmp_path):
    make_run(tmp_path, status="running")
    page = write_sweep_report([tmp_path], say=lambda _: None)
    assert "No run is finished" in page.read_text()
    assert "plot-accuracy" in page.read_text()


def test_a_run_that_left_no_metrics_is_listed(tmp_path):
    make_sweep(tmp_path)
    (make_run(tmp_path, "rkl", 7, status="failed", reason="no memory") / "metrics.jsonl").unlink()
    sweep = read_sweep([tmp_path])
    assert [m.name for m in sweep.of("unfinished")] == ["rkl_7"]


def test_the_report_is_the_same_when_written_again(tmp_path):
    """But for the SVGs, whose clip paths one process numbers on."""
    make_sweep(tmp_path)

    def written() -> dict[str, bytes]:
        folder = write_sweep_report([tmp_path], say=lambda _: None).parent
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".svg"}

    assert written() == written()
