from __future__ import annotations

import pytest

from tests.report.made import make_run
from tgpo.errors import RequestError
from tgpo.report.collect import read_run
from tgpo.report.find import find_runs, natural


def notes_of(folder) -> dict[str, tuple[str, ...]]:
    return {note.text: note.names for note in find_runs([folder])[1]}


def test_runs_are_found_at_any_depth_and_named_by_their_path(tmp_path):
    make_run(tmp_path / "a" / "b", seed=1)
    make_run(tmp_path, seed=2)
    runs, notes = find_runs([tmp_path])
    assert list(runs) == ["a/b/tgpo_1", "tgpo_2"]
    assert notes == []


def test_a_run_given_twice_is_one_run(tmp_path):
    run = make_run(tmp_path, seed=1)
    assert len(find_runs([tmp_path, run])[0]) == 1


def test_folders_are_ordered_by_number():
    assert sorted(["10_x", "9_x", "1_y", "1_x"], key=natural) == ["1_x", "1_y", "9_x", "10_x"]


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path):
    make_run(tmp_path, seed=0)
    (tmp_path / "nothing").mkdir()
    cut = make_run(tmp_path, seed=1)
    text = (cut / "metrics.jsonl").read_text()
    (cut / "metrics.jsonl").write_text(text[:-20])
    broken = make_run(tmp_path, seed=2)
    (broken / "metrics.jsonl").write_text("{broken\n" + text)
    (make_run(tmp_path, seed=3) / "config.yaml").unlink()
    (make_run(tmp_path, seed=4) / "config.yaml").write_text("a: [")
    (make_run(tmp_path, seed=5) / "status.json").write_text('{"status"')
    notes = notes_of(tmp_path)
    assert list(find_runs([tmp_path])[0]) == ["tgpo_0", "tgpo_1"]
    assert notes["empty folder"] == ("nothing",)
    assert notes["last record cut short by a kill and left out"] == ("tgpo_1",)
    assert {names for text, names in notes.items() if "cannot be read" in text} == {
        ("tgpo_2",), ("tgpo_3",), ("tgpo_4",), ("tgpo_5",)
    }  # fmt: skip
    assert any("line 1 is not JSON" in text for text in notes)


def test_the_cut_line_is_counted_and_the_others_kept(tmp_path):
    run = make_run(tmp_path, steps=4)
    whole = read_run(run)
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[:-20])
    cut = read_run(run)
    assert (whole.cut, cut.cut) == (0, 1)
    assert len(cut.train) == len(whole.train) - 1


def test_a_line_is_what_ends_in_a_line_feed(tmp_path):
    """Python counts U+2028 and U+0085 among the ends of lines; models write them."""
    run = make_run(tmp_path)
    (run / "rollouts.jsonl").write_text('{"step": 1, "response": "a\u2028b\x85c"}\n')
    assert read_run(run).rollouts[0]["response"] == "a\u2028b\x85c"


@pytest.mark.parametrize("given", ["there/is/none", ""])
def test_no_run_at_all_is_a_wrong_request(tmp_path, given):
    with pytest.raises(RequestError, match="no such directory" if given else "no readable run"):
        find_runs([tmp_path / given])
