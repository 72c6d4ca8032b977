"""No value of another type becomes text: it is refused with the field that could be meant, or read as what it is."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.local import golds, jsonl, read, refused
from tgpo.tasks.answers import gold_answer, question
from tgpo.tasks.cells import CellError

USER, SYSTEM = {"role": "user", "content": "1 + 1"}, {"role": "system", "content": "Sum."}


def parquet(path, rows, **types):
    table = pa.Table.from_pylist(rows)
    for name, form in types.items():
        column = pa.array([row[name] for row in rows], form)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    with path.open("wb") as file:
        pq.write_table(table, file)
    return path


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "words"),
    [
        ({"ground_truth": "13", "style": "rule"}, "set task.answer_column=answer.ground_truth"),
        ({"ground_truth": ["13"], "style": "rule"}, "set task.answer_column=answer.ground_truth"),
        ({"style": "rule", "ground_truth": {"target": 98, "numbers": [1]}}, "answer_column=answer.ground_truth.target"),
        ({"a": {"b": {"c": "5"}}}, "set task.answer_column=answer.a.b.c"),
        ([{"value": "13"}, {"value": "14"}], "set task.answer_column=answer.value"),
        ([[{"value": "13"}]], "set task.answer_column=answer.value"),
        ({"flag": True}, "holds fields (flag), not text or a number"),
        (True, "holds true, not text or a number"),
        ([True], "holds true"),
        ('{"target": ["13"]}', "set task.answer_column=answer.target"),
        ("{'target': ['13']}", "set task.answer_column=answer.target"),
        ("{'target': array(['13'], dtype=object)}", "write it as JSON"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_gold_that_is_neither_text_nor_number(gold, words, form, tmp_path):
    rows, path = [{"prompt": "1 + 1", "answer": gold}] * 3, tmp_path / f"rows.{form}"
    message = refused(jsonl(path, rows) if form == "jsonl" else parquet(path, rows))
    assert message.startswith("task.answer_column=answer: row local/train/0 holds ")
    assert words in message


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ({"ground_truth": ["13"], "style": "rule"}, "13"),
        ({"ground_truth": ["2", "-2"], "style": "rule"}, "2, -2"),
        ({"ground_truth": 13}, "13"),
        ([{"ground_truth": "13"}, {"ground_truth": "14"}], "13, 14"),
        ('{"ground_truth": "0.10"}', "0.10"),
        ("{'ground_truth': ['13']}", "13"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_a_dotted_name_reaches_into_fields_lists_and_text(gold, answer, form, tmp_path):
    rows, path = [{"prompt": "1 + 1", "answer": gold}] * 3, tmp_path / f"rows.{form}"
    if form == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path = jsonl(path, rows) if form == "jsonl" else parquet(path, rows)
    assert golds(path, answer_column="answer.ground_truth") == [answer] * 3


@pytest.mark.parametrize(
    "gold",
    [datetime.date(2021, 5, 1), datetime.datetime(2021, 5, 1), datetime.timedelta(1), float("inf"), b"\xff", {1, 2}],
)
def test_what_has_no_spelling_of_its_own(gold):
    with pytest.raises(CellError):
        gold_answer(gold, "verbatim")
    with pytest.raises(CellError):
        question(gold)


def test_bytes_and_decimals_are_text(tmp_path):
    rows = [{"prompt": b"2 \xc3\x97 3", "answer": b"6"}, {"prompt": b"a", "answer": b"\xc2\xbd"}]
    problems = read(parquet(tmp_path / "rows.parquet", rows))
    assert [(p.prompt, p.answer) for p in problems] == [("2 × 3", "6"), ("a", "½")]
    bad = parquet(tmp_path / "bad.parquet", [{"prompt": "a", "answer": b"\xff\xfe"}])
    assert "holds bytes that are not UTF-8 text" in refused(bad)
    assert gold_answer(Decimal("0.10"), "verbatim") == "0.10"
    assert gold_answer(Decimal("1E+3"), "verbatim") == "1000"


def test_half_a_surrogate_pair_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "\\ud83d", "answer": "1"}\n')
    assert "half a surrogate pair" in refused(path)


@pytest.mark.parametrize(
    "value",
    ["2021-05-01", "2021-05-01T00:00:00Z", "12:30", "true", "None", "nan", "1e5", "{1, 2}", "[1, 2]", "{x: x>1}"],
)
def test_text_is_as_written(value, tmp_path):
    rows = [{"prompt": value, "answer": value}] * 2
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    jsonl(tmp_path / "rows.jsonl", rows)
    parquet(tmp_path / "rows.parquet", rows)
    for suffix in ("csv", "json", "jsonl", "parquet"):
        problems = read(tmp_path / f"rows.{suffix}")
        assert [(p.prompt, p.answer) for p in problems] == [(value, value)] * 2


# --- prompts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "system"),
    [
        (USER, None),
        ([USER], None),
        ([SYSTEM, USER], "Sum."),
        (json.dumps(USER), None),
        (json.dumps([SYSTEM, USER], indent=1), "Sum."),
        (str([SYSTEM, USER]), "Sum."),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_messages_are_messages_however_they_are_written(prompt, system, form, tmp_path):
    rows, path = [{"prompt": prompt, "answer": "2"}] * 2, tmp_path / f"rows.{form}"
    if form == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)  # writes lists and fields as Python does
    else:
        path = jsonl(path, rows) if form == "jsonl" else parquet(path, rows)
    assert [(p.prompt, p.system) for p in read(path)] == [("1 + 1", system)] * 2


def test_messages_in_bytes():
    assert question([{"role": b"user", "content": b"1 + 1"}]) == ("1 + 1", None)
    assert question(json.dumps([USER]).encode()) == ("1 + 1", None)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"text": "1 + 1", "id": 3}, "set task.prompt_column=prompt.text"),
        ([{"from": "human", "value": "1 + 1"}], "holds a list whose entries are fields (from, value)"),
        (["1 + 1"], "holds a list whose entries are text"),
        (True, "holds true"),
        ([{"role": "user", "content": [{"text": "1 + 1"}]}], "chat messages whose content is a list"),
        ("[{'role': 'user', 'content': '1'}\n {'role': 'user'}]", "begins like chat messages"),
    ],
)
def test_a_prompt_that_is_neither_text_nor_messages(prompt, words, tmp_path):
    message = refused(jsonl(tmp_path / "rows.jsonl", [{"prompt": prompt, "answer": "2"}] * 2))
    assert message.startswith("task.prompt_column=prompt: row local/train/0 holds ")
    assert words in message


@pytest.mark.parametrize("text", ['{"a": 1}', '["b", "a"]', "{'x': 2}", '{"role": "king"}'])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_prompt_that_is_json_of_something_else_is_text(text, form, tmp_path):
    rows, path = [{"prompt": text, "answer": "2"}], tmp_path / f"rows.{form}"
    pd.DataFrame(rows).to_csv(path, index=False) if form == "csv" else jsonl(path, rows)
    assert [p.prompt for p in read(path)] == [text]


def test_lists_of_answers_in_csv(tmp_path):
    answers = [["13"], ["2", "-2"], ["$3$"]]
    pd.DataFrame({"prompt": list("abc"), "answer": answers}).to_csv(tmp_path / "rows.csv", index=False)
    assert golds(tmp_path / "rows.csv") == ["13", "2, -2", "$3$"]
    pd.DataFrame({"prompt": list("abc"), "answer": map(json.dumps, answers)}).to_csv(tmp_path / "rows.csv", index=False)
    assert golds(tmp_path / "rows.csv") == ["13", "2, -2", "$3$"]
