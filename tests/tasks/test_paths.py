"""A path names exactly one file or folder, whatever its characters mean to a pattern."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from tests.hub import FIXTURES, fetched
from tests.tasks.local import golds, jsonl, local, read, refused
from tgpo.errors import RequestError
from tgpo.tasks import demonstrations

pytestmark = pytest.mark.usefixtures("hub")

ODD = [
    "rows[1]",
    "rows*",
    "rows?",
    "rows[!a]",
    "{rows,row}",
    "a,b=c d",
    "größe 漢字",
    "a::b",
    "**",
    "[[]",
    "~x",
    "#%20",
]
SUFFIXES = ["jsonl", "json", "csv", "parquet"]


def write(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"prompt": ["a", "b"], "answer": [answer, answer]})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path.open("wb"))
    else:
        path.write_text(frame.to_json(orient="records", lines=path.suffix == ".jsonl"))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ODD)
def test_a_file_is_the_one_of_that_name(name, suffix, tmp_path):
    for other in ("rows1", "rows", "row", "rowsb", "x"):
        write(tmp_path / f"{other}.{suffix}", "wrong")
    assert golds(write(tmp_path / f"{name}.{suffix}", "right")) == ["right"] * 2


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_would_be_a_pattern_for_another_file_is_not_there(name, tmp_path):
    for other in ("rows1", "rows", "row", "rowsb", "a"):
        write(tmp_path / f"{other}.jsonl", "wrong")
    assert "no such file or folder" in refused(tmp_path / f"{name}.jsonl")


@pytest.mark.parametrize("name", [*ODD, "a,b=c d/[x]{y}"])
def test_a_folder_is_the_one_of_that_name_with_its_splits(name, tmp_path):
    write(tmp_path / "rows1" / "train.parquet", "wrong")
    write(tmp_path / name / "train.parquet", "right")
    write(tmp_path / name / "test.parquet", "held out")
    assert golds(tmp_path / name) == ["right"] * 2
    assert golds(tmp_path / name, split="test") == ["held out"] * 2


@pytest.mark.parametrize("name", ODD)
def test_files_and_folders_inside_a_folder_may_have_any_name(name, tmp_path):
    write(tmp_path / "rows" / name / f"{name}.jsonl", "right")
    assert golds(tmp_path / "rows") == ["right"] * 2


def test_the_held_out_path_is_as_exact(tmp_path):
    jsonl(tmp_path / "held1.jsonl", [{"prompt": "wrong", "answer": "1"}])
    held = jsonl(tmp_path / "held[1].jsonl", [{"prompt": "right", "answer": "1"}])
    rows = jsonl(tmp_path / "rows.jsonl", [{"prompt": str(i), "answer": "1"} for i in range(3)])
    assert [p.prompt for p in local(rows, eval_path=str(held)).eval_problems()] == ["right"]
    with pytest.raises(RequestError, match=r"task\.eval_path=.*held\?\.jsonl: no such file or folder"):
        local(rows, eval_path=str(tmp_path / "held?.jsonl")).eval_problems()


def test_demonstrations_are_read_from_a_folder_of_any_name(tmp_path):
    for name, ids in (("a=1 [x]", [1]), ("a=1 x", [2])):
        (tmp_path / name).mkdir()
        row = {"problem_id": "a", "prompt": "p", "answer": "1", "response": "1", "response_ids": ids}
        pd.DataFrame([row]).to_parquet((tmp_path / name / "part-00000-0.parquet").open("wb"))
    assert demonstrations.read(tmp_path / "a=1 [x]").by_problem == {("a", "p"): [(1,)]}


def test_a_relative_path_and_a_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "home" / "rows[1].jsonl", "home")
    write(tmp_path / "a b" / "rows.jsonl", "here")
    assert golds("~/rows[1].jsonl") == ["home"] * 2
    assert golds("a b/rows.jsonl") == golds("a b") == ["here"] * 2


def test_a_hub_dataset_keeps_its_subsets_and_splits(hub):
    fetched(hub, "openai/gsm8k", "gsm8k")
    options = {"prompt_column": "question", "subset": "socratic"}
    problems = read("openai/gsm8k", split="test", **options)
    assert [p.id for p in problems] == [f"local/test/{i}" for i in range(4)]
    assert problems == read(FIXTURES / "gsm8k", split="test", **options)


def test_part_of_a_split_and_several(tmp_path):
    shutil.copytree(FIXTURES / "gsm8k" / "main", tmp_path / "rows[1]")
    options = {"prompt_column": "question"}
    whole, test = read(tmp_path / "rows[1]", **options), read(tmp_path / "rows[1]", split="test", **options)
    part = read(tmp_path / "rows[1]", split="train[2:5]+test", **options)
    assert [p.prompt for p in part] == [p.prompt for p in whole[2:5] + test]
    assert "no such split" in refused(tmp_path / "rows[1]", split="train[2", **options)


def test_a_readme_names_files_and_patterns(tmp_path):
    for name in ("rows[1]", "rows1", "rows2", "rowsx1x"):
        jsonl(tmp_path / "rows" / "[d]" / f"{name}.jsonl", [{"prompt": "a", "answer": name}])
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n---\n"
    for named, found in (
        ("'[d]/rows[1].jsonl'", ["rows[1]"]),
        ("'*/rows?.jsonl'", ["rows1", "rows2"]),
        ("'*/rows[12].jsonl'", ["rows1", "rows2"]),
    ):
        (tmp_path / "rows" / "README.md").write_text(card.format(named))
        assert golds(tmp_path / "rows") == found


def test_a_readme_names_no_file_outside_its_folder(tmp_path):
    other = jsonl(tmp_path / "other.jsonl", [{"prompt": "a", "answer": "1"}])
    (tmp_path / "rows").mkdir()
    jsonl(tmp_path / "rows" / "train.jsonl", [{"prompt": "a", "answer": "2"}])
    card = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"
    for named in (str(other), "../other.jsonl"):
        (tmp_path / "rows" / "README.md").write_text(card.format(named))
        refused(tmp_path / "rows")


@pytest.mark.parametrize("name", ["saved", "saved [1]*"])
def test_what_save_to_disk_wrote(name, tmp_path):
    rows = [{"prompt": str(i), "answer": str(i)} for i in range(5)]
    dataset = Dataset.from_list(rows)
    dataset.save_to_disk(str(tmp_path / "plain"), num_shards=2)
    (tmp_path / "plain").rename(tmp_path / name)
    assert golds(tmp_path / name) == list("01234")
    assert "task.split=test: no such split" in refused(tmp_path / name, split="test")
    DatasetDict({"train": dataset, "test": dataset.select([3, 1])}).save_to_disk(str(tmp_path / "plain"))
    (tmp_path / "plain").rename(tmp_path / f"{name} both")
    assert golds(tmp_path / f"{name} both") == list("01234")
    assert golds(tmp_path / f"{name} both", split="test") == ["3", "1"]
    assert golds(tmp_path / f"{name} both", split="train[:2]") == ["0", "1"]
    assert "task.subset=x" in refused(tmp_path / name, subset="x")
    (tmp_path / f"{name} both" / "train" / "state.json").unlink()
    assert "no rows there" in refused(tmp_path / f"{name} both")


def test_a_folder_with_a_state_of_its_own_is_any_other(tmp_path):
    write(tmp_path / "train.csv", "right")
    (tmp_path / "state.json").write_text("{}")
    assert golds(tmp_path) == ["right"] * 2


def test_a_temporary_folder_that_is_a_pattern_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "rows" / "train.jsonl", "right")
    (tmp_path / "[t]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[t]"))
    assert "set TMPDIR to another folder" in refused(tmp_path / "rows")


def test_compressed_files(tmp_path):
    with gzip.open(tmp_path / "rows[1].jsonl.gz", "wt") as file:
        file.write(json.dumps({"prompt": "a", "answer": "1"}) + "\n")
    assert golds(tmp_path / "rows[1].jsonl.gz") == ["1"]
    assert golds(tmp_path) == ["1"]
