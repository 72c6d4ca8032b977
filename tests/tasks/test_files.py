"""Numbers and missing values are as written, in every kind of file."""

from __future__ import annotations

import bz2
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.local import golds, lines, read, refused

NUMBERS = ["7", "-3", "12345678901234567", "12345678901234567890123", "0.10", "2.5", "0.30000000000000004", "1e3"]
NUMBERS += ["1e400", "-1E-400"]


def table(path, **columns):
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        pq.write_table(pa.table(columns), file)
    return path


@pytest.mark.parametrize("layout", ["lines", "list", "pretty", "one after another"])
def test_json_numbers_keep_their_spelling(layout, tmp_path):
    rows = [f'{{"prompt": "a", "answer": {number}}}' for number in NUMBERS]
    text = {
        "lines": "\n".join(rows),
        "list": f"[{','.join(rows)}]",
        "pretty": "[\n" + ",\n".join(row.replace(", ", ",\n  ") for row in rows) + "\n]\n",
        "one after another": "\n".join(row.replace(", ", ",\n  ") for row in rows),
    }[layout]
    assert golds(lines(tmp_path / "rows.json", text)) == NUMBERS
    assert golds(lines(tmp_path / "rows.jsonl", "\ufeff" + text, "", "  ")) == NUMBERS


def test_an_integral_number_of_json_loses_its_point_as_one_of_parquet_does(tmp_path):
    rows = lines(tmp_path / "rows.jsonl", '{"prompt": "a", "answer": 142.0}', '{"prompt": "a", "answer": [1.0, -2.0]}')
    assert golds(rows) == ["142", "1, -2"]


def test_json_of_columns(tmp_path):
    frame = pd.DataFrame({"prompt": ["a", "b"], "answer": ["1", "2"]})
    (tmp_path / "rows.json").write_text(frame.to_json())
    assert golds(tmp_path / "rows.json") == ["1", "2"]
    (tmp_path / "rows.json").write_text(json.dumps(frame.to_dict("list"), indent=1))
    assert golds(tmp_path / "rows.json") == ["1", "2"]


def test_csv_cells_are_text_and_only_an_empty_one_is_missing(tmp_path, caplog):
    words = ["None", "NA", "null", "nan", "N/A", "NaN", "True", "-inf", "007", "1_000", "2021-05-01", "5.0"]
    path = lines(tmp_path / "rows.csv", "prompt,answer", *(f"a,{word}" for word in words + NUMBERS), "b,", 'c,""')
    problems = read(path, max_bad_fraction=0.5)
    assert [p.answer for p in problems] == words + NUMBERS
    assert f"row local/train/{len(words + NUMBERS)} has no prompt or no answer" in caplog.text
    assert "2 of 24 rows have no prompt or no answer" in refused(path)


@pytest.mark.parametrize(
    "rows",
    [
        ['{"prompt": "a", "answer": NaN}', '{"prompt": "a", "answer": null}', '{"prompt": "a"}', '{"answer": "1"}'],
        ['{"prompt": null, "answer": 1}', '{"prompt": NaN, "answer": 1}'],
    ],
)
def test_missing_values_of_json(rows, tmp_path):
    path = lines(tmp_path / "rows.jsonl", '{"prompt": "a", "answer": "nan"}', *rows)
    assert golds(path, max_bad_fraction=1) == ["nan"]
    assert f"{len(rows)} of {len(rows) + 1} rows have no prompt or no answer" in refused(path)
    infinite = lines(tmp_path / "infinite.jsonl", '{"prompt": "a", "answer": -Infinity}')
    assert "row local/train/0 holds -inf, not text or a number" in refused(infinite)


def test_missing_values_of_parquet(tmp_path):
    path = table(tmp_path / "rows.parquet", prompt=["a", "b", None, "d"], answer=[1.0, float("nan"), 2.0, None])
    assert golds(path, max_bad_fraction=1) == ["1"]
    assert "3 of 4 rows have no prompt or no answer, the last local/train/3" in refused(path)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_floats_have_their_own_precision(form, tmp_path):
    def read_back(column):
        path = tmp_path / f"rows.{form}"
        rows = pa.table({"prompt": ["a"] * len(column), "answer": column})
        with path.open("wb") as file:
            if form == "parquet":
                pq.write_table(rows, file)
            else:
                with pa.ipc.new_file(file, rows.schema) as writer:
                    writer.write_table(rows)
        return golds(path)

    given, spelled = [0.1, 72.3, 5, -2.5, 16777216], ["0.1", "72.3", "5", "-2.5", "16777216"]
    assert read_back(pa.array(given, pa.float32())) == spelled
    assert read_back(pa.array(given, pa.float64())) == spelled
    assert read_back(pa.array(np.array([0.1, 2.5], np.float16))) == ["0.1", "2.5"]
    assert read_back(pa.array([[0.1, 0.2]], pa.list_(pa.float32()))) == ["0.1, 0.2"]
    assert read_back(pa.array([2**63], pa.uint64())) == [str(2**63)]
    assert read_back(pa.array(["0.10"]).cast(pa.decimal128(38, 2))) == ["0.10"]


def test_fields_and_lists_of_narrow_floats(tmp_path):
    form = pa.struct([("values", pa.list_(pa.float32())), ("name", pa.string())])
    cells = pa.array([{"values": [0.1, None], "name": "x"}, {"values": [72.3], "name": "y"}, None], form)
    path = table(tmp_path / "rows.parquet", prompt=["a", "b", "c"], answer=cells)
    assert golds(path, answer_column="answer.values", max_bad_fraction=1) == ["72.3"]


# --- files that are not rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.csv", "prompt,answer\na,1,000\n", "line 2 has 3 cells and the first has 2"),
        ("rows.csv", 'prompt,answer\na,"1\n', "unexpected end of data"),
        ("rows.csv", "prompt,answer,answer\na,1,2\n", "two columns are named answer"),
        ("rows.csv", "prompt;answer\na;1\n", "did you mean 'prompt;answer'?"),
        ("rows.jsonl", '{"prompt": "a", "answer": "1"}\n\n[1]\n', "a row is an object with columns"),
        ("rows.jsonl", '{"prompt": "a", "answer": "1"}\n\n{"prompt"\n', "line 3 of the file"),
        ("rows.jsonl", '{"prompt": "a", "answer": "1"}\n' + "[" * 100_000, "too deeply nested"),
        ("rows.json", '["a", "b"]', "a row is an object with columns"),
        ("rows.json", "[]", "no rows there"),
        ("rows.json", '[{"prompt": "a"', "JSON parse error"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    assert words in refused(tmp_path / name)


def test_a_column_met_twice_in_parquet(tmp_path):
    rows = pa.Table.from_arrays([pa.array(["a"]), pa.array(["1"]), pa.array(["2"])], ["prompt", "answer", "answer"])
    with (tmp_path / "rows.parquet").open("wb") as file:
        pq.write_table(rows, file)
    assert "two columns are named answer" in refused(tmp_path / "rows.parquet")


def test_a_column_whose_name_has_a_dot(tmp_path):
    path = table(tmp_path / "rows.parquet", **{"prompt": ["a"], "a.b": ["1"], "a": [{"b": "2"}]})
    assert golds(path, answer_column="a.b") == ["1"]


@pytest.mark.parametrize("name", ["rows.tsv", "rows.ndjson", "rows.csv.bz2", "rows.JSONL"])
def test_other_names_of_files(name, tmp_path):
    text = '{"prompt": "a", "answer": "1,5"}\n' if "js" in name.lower() else 'prompt,answer\na,"1,5"\n'
    text = text.replace(",a", "\ta").replace("a,", "a\t") if name.endswith("tsv") else text
    (tmp_path / name).write_bytes(bz2.compress(text.encode()) if name.endswith("bz2") else text.encode())
    assert golds(tmp_path / name) == ["1,5"]


def test_a_large_cell_of_csv(tmp_path):
    path = lines(tmp_path / "rows.csv", "prompt,answer", "a" * 200_000 + ",1", '"b\nc\u2028",2')
    assert [len(p.prompt) for p in read(path)] == [200_000, 4]
