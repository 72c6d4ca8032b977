"""Rows as a task, on fixtures with the schema of the hub datasets, through the real `datasets`."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from tests.compose import composed
from tests.conftest import ROOT
from tests.hub import COMMIT, FIXTURES, fetched
from tests.tasks.local import jsonl
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.models.loading import load_tokenizer
from tgpo.rollout.base import encode_prompts
from tgpo.tasks.dataset import DatasetTask, fingerprint
from tgpo.types.problem import Problem

pytestmark = pytest.mark.usefixtures("hub")

HUB_NAMES = {
    "openr1_math": "Elliott/Openr1-Math-46k-8192",
    "gsm8k": "openai/gsm8k",
    "math": "nlile/hendrycks-MATH-benchmark",
}


def preset(name: str, *overrides: str) -> DatasetTask:
    return check(composed(f"task={name}", *overrides, "output_dir=unused")).task


def local(path, **options) -> DatasetTask:
    given = {"name": "local", "prompt_column": "prompt", "answer_column": "answer", "eval_size": 2, **options}
    return DatasetTask(path=str(path), **given)


def numbered(count: int, start: int = 0) -> list[dict]:
    return [{"prompt": f"{i} + 1", "answer": str(i + 1)} for i in range(start, start + count)]


def refused(task: DatasetTask) -> str:
    with pytest.raises(RequestError) as caught:
        task.eval_problems()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything(task: DatasetTask) -> list[Problem]:
    return [*task.eval_problems(), *task.train_problems(0, 1, len(task._split[0]))]


# --- the presets, each on its fixture -----------------------------------------------------------------------------


def test_openr1_math():
    task = preset("openr1_math", f"task.path={FIXTURES}/openr1_math", "task.eval_size=3")
    problems = {p.id: p for p in everything(task)}
    assert len(problems) == 10
    first = problems["openr1_math/train/0"]
    assert first.prompt == "A shed holds 3 crates of 5 kettles each. How many kettles are in it?"
    assert first.answer == "15"
    assert first.system is not None
    assert first.system.startswith("Think between <think>")
    assert task.rewards([first], [r"<think>3*5</think>\boxed{15}"]).values == [1]
    assert task.rewards([first], [r"\boxed{15}"]).values == [0]
    free = preset("openr1_math", f"task.path={FIXTURES}/openr1_math", "task.require_think_end=false")
    assert free.rewards([first], [r"\boxed{15}"]).values == [1]


def test_gsm8k():
    task = preset("gsm8k", f"task.path={FIXTURES}/gsm8k")
    assert len(task.eval_problems()) == 4
    first = next(p for p in task.train_problems(0, 1, 10) if p.id == "gsm8k/train/0")
    assert first.answer == "1500"  # written 1,500
    assert first.prompt.endswith("\n\nPut the final answer in \\boxed{}.")
    assert task.rewards([first], [r"\boxed{1500}"]).values == [1]


def test_math_holds_out_its_test_split():
    task = preset("math", f"task.path={FIXTURES}/math")
    assert {p.id for p in task.eval_problems()} == {f"math/test/{i}" for i in range(4)}
    assert {p.id for p in task.train_problems(0, 1, 10)} == {f"math/train/{i}" for i in range(10)}
    assert task.rewards(task.eval_problems()[:1], [rf"\boxed{{{task.eval_problems()[0].answer}}}"]).values == [1]


@pytest.mark.parametrize("name", sorted(HUB_NAMES))
def test_a_hub_dataset_in_the_cache_and_a_local_copy_are_the_same_problems(name, hub):
    size = "task.eval_size=3"
    message = refused(preset(name, size))
    assert message.endswith(f"fetch it with: hf download --repo-type dataset {HUB_NAMES[name]}")
    fetched(hub, HUB_NAMES[name], name)
    assert everything(preset(name, size)) == everything(preset(name, size, f"task.path={FIXTURES}/{name}"))


# --- which problems, in which order -------------------------------------------------------------------------------


def test_training_problems_are_a_pure_function_and_every_epoch_meets_each_row_once(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", numbered(23))
    task, again = local(path, eval_size=3), local(path, eval_size=3)
    steps = [task.train_problems(0, step, 6) for step in range(1, 11)]
    assert [again.train_problems(0, step, 6) for step in range(10, 0, -1)] == steps[::-1]  # in any order of asking
    stream = [p.prompt for step in steps for p in step]
    epochs = [stream[i : i + 20] for i in (0, 20, 40)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert task.train_problems(1, 1, 6) != steps[0]


def test_the_hash_split_never_leaks_and_does_not_depend_on_the_order_of_rows(tmp_path):
    rows = numbered(40) + [{"prompt": f" {i}  +\n1", "answer": str(i + 1)} for i in range(40)]  # each twice, respaced
    task = local(jsonl(tmp_path / "rows.jsonl", rows), eval_size=8)
    held_out = {fingerprint(p.prompt) for p in task.eval_problems()}
    assert len(held_out) == 8
    for step in range(1, 30):
        assert not held_out & {fingerprint(p.prompt) for p in task.train_problems(0, step, 16)}
    assert len(task._split[0]) == 64
    reordered = local(jsonl(tmp_path / "reordered.jsonl", rows[::-1]), eval_size=8)
    assert {fingerprint(p.prompt) for p in reordered.eval_problems()} == held_out
    # and it stays where it is when rows are added, unless one of those takes its place
    more = local(jsonl(tmp_path / "more.jsonl", rows + numbered(40, 40)), eval_size=16)
    assert len({fingerprint(p.prompt) for p in more.eval_problems()} & held_out) >= 4


@pytest.mark.parametrize("size", [None, 1])
def test_a_held_out_file_is_kept_out_of_training_all_of_it(tmp_path, size, caplog):
    path, apart = jsonl(tmp_path / "rows.jsonl", numbered(20)), jsonl(tmp_path / "apart.jsonl", numbered(8, 15))
    task = local(path, eval_path=str(apart), eval_size=size)
    assert len(task.eval_problems()) == (size or 8)
    assert {p.prompt for p in task.train_problems(0, 1, 15)} == {f"{i} + 1" for i in range(15)}
    assert "5 training rows are held-out problems" in caplog.text


def test_a_changed_file_is_read_anew(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", numbered(5))
    assert {p.answer for p in everything(local(path))} == {"1", "2", "3", "4", "5"}
    jsonl(path, numbered(5, 100))
    assert {p.answer for p in everything(local(path))} == {"101", "102", "103", "104", "105"}


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl", "csv", "folder"])
def test_every_kind_of_file_gives_the_same_rows(form, tmp_path):
    frame, path = pd.DataFrame(numbered(6)), tmp_path / f"rows.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "csv":
        frame.to_csv(path, index=False)
    elif form == "folder":
        path = tmp_path / "folder"
        path.mkdir()
        frame.to_parquet(path / "train.parquet")
    else:
        path.write_text(frame.to_json(orient="records", lines=form == "jsonl"))
    assert {(p.prompt, p.answer) for p in everything(local(path))} == {(f"{i} + 1", str(i + 1)) for i in range(6)}


# --- the system prompt --------------------------------------------------------------------------------------------


def test_the_system_prompt_is_the_rows_own_another_or_none():
    path = f"task.path={FIXTURES}/openr1_math"
    size = "task.eval_size=1"
    systems = {p.system for p in everything(preset("openr1_math", path, size))}
    assert systems == {"Think between <think> and </think>. Then give the answer in \\boxed{}."}
    assert {p.system for p in everything(preset("openr1_math", path, size, "task.system_prompt=Sum."))} == {"Sum."}
    assert {p.system for p in everything(preset("openr1_math", path, size, "task.system_prompt=''"))} == {None}


def test_a_system_prompt_is_a_turn_before_the_question():
    tokenizer = load_tokenizer("tiny:teacher")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'][0] }}={{ m['content'] }};{% endfor %}"
    plain, told = Problem("a", "1+1", "2", "t"), Problem("a", "1+1", "2", "t", "9")
    texts = [tokenizer.decode(ids) for ids in encode_prompts(tokenizer, [plain, told])]
    assert texts[1] == "s=9;" + texts[0]


# --- bad input ----------------------------------------------------------------------------------------------------


def test_further_columns_come_with_the_problem_and_are_none_of_its_prompt(tmp_path):
    at = "+task.extra_columns.solution"
    found = everything(preset("gsm8k", f"task.path={FIXTURES}/gsm8k", f"{at}=answer"))[-1]
    assert found.extra["solution"].endswith(f"#### {int(found.answer):,}")
    assert "<<" not in found.prompt
    worked = everything(preset("openr1_math", f"task.path={FIXTURES}/openr1_math", "task.eval_size=3", f"{at}=target"))
    assert worked[-1].extra["solution"].startswith("<think>")  # of chat messages, the assistant's
    rows = [{"prompt": "p", "answer": "1", "hint": 7}, {"prompt": "q", "answer": "2", "hint": "  "}]
    task = local(jsonl(tmp_path / "rows.jsonl", rows), extra_columns={"hint": "hint"}, eval_size=1)
    assert sorted((p.prompt, dict(p.extra)) for p in everything(task)) == [("p", {"hint": "7"}), ("q", {})]
    assert "task.extra_columns.tip=tip" in refused(
        local(tmp_path / "rows.jsonl", extra_columns={"tip": "tip"}, eval_size=1)
    )
    rows[0]["hint"] = {"text": "look"}
    said = refused(local(jsonl(tmp_path / "rows.jsonl", rows), extra_columns={"hint": "hint"}, eval_size=1))
    assert "set task.extra_columns.hint=hint.text" in said


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", [{"prompts": "1", "meta": {"answer": "1"}}] * 3)
    assert "task.prompt_column=prompt: no such column" in refused(local(path, answer_column="meta.answer"))
    assert "did you mean 'prompts'?" in refused(local(path, answer_column="meta.answer"))
    assert "did you mean 'meta.answer'?" in refused(local(path, prompt_column="prompts", answer_column="meta.answr"))


def test_rows_with_nothing_in_them_are_counted_named_and_skipped(tmp_path, caplog):
    bad = [{"prompt": "", "answer": "1"}, {"prompt": "2", "answer": None}, {"prompt": "3", "answer": "  "}]
    path = jsonl(tmp_path / "rows.jsonl", numbered(5) + bad)
    assert len(everything(local(path, max_bad_fraction=0.05))) == 5
    assert "row local/train/5 has no prompt or no answer" in caplog.text
    assert "raise task.max_bad_fraction (now 0.01)" in refused(local(path))
    assert "none of its 3 rows" in refused(local(jsonl(tmp_path / "bad.jsonl", bad), max_bad_fraction=1))
    first = jsonl(tmp_path / "first.jsonl", bad + numbered(400))  # a fraction of all rows, wherever they stand
    assert len(everything(local(first))) == 400


def test_files_that_cannot_be_rows(tmp_path):
    for name, text in [("a.parquet", "hello"), ("b.jsonl", '{"prompt": \n'), ("c.json", "hello")]:
        (tmp_path / name).write_text(text)
        assert f"is it the {name[1:]} file its name says?" in refused(local(tmp_path / name))
    for name in ("empty.jsonl", "empty.json", "empty.csv"):
        (tmp_path / name).write_text("")
        assert "no rows there" in refused(local(tmp_path / name))
    pd.DataFrame({"prompt": [], "answer": []}).to_parquet(tmp_path / "none.parquet")
    assert "no rows there" in refused(local(tmp_path / "none.parquet"))
    (tmp_path / "rows.pkl").write_bytes(b"\x80\x04.")
    assert "give a file that ends in .parquet, .json, .jsonl, .csv" in refused(local(tmp_path / "rows.pkl"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "rows.pkl").write_bytes(b"\x80\x04.")
    assert "No (supported) data files found" in refused(local(tmp_path / "code"))
    (tmp_path / "code" / "code.py").write_text("raise SystemExit('ran')")
    assert "No (supported) data files found" in refused(local(tmp_path / "code"))  # and does not run it


def test_places_that_are_not_there(tmp_path):
    assert "no such file or folder; give a local file" in refused(local(tmp_path / "rows.parquet"))
    assert "no such file or folder; give a local file" in refused(local("rows.jsonl"))
    assert "no name of a hub dataset" in refused(local("not a name!"))
    assert "task.path says where the rows are" in refused(preset("local"))


def test_wrong_parts_of_a_dataset(tmp_path):
    gsm8k = FIXTURES / "gsm8k"
    columns = {"prompt_column": "question"}
    assert "task.subset=mian: no such subset" in refused(local(gsm8k, subset="mian", **columns))
    assert "did you mean 'main'?" in refused(local(gsm8k, subset="mian", **columns))
    assert "valid: main, socratic" in refused(local(gsm8k, **columns))
    assert "task.split=tset: no such split" in refused(local(gsm8k, subset="main", split="tset", **columns))
    path = jsonl(tmp_path / "rows.jsonl", numbered(5))
    assert "task.split=test: one file has no splits" in refused(local(path, split="test"))
    assert "task.revision=v1" in refused(local(path, revision="v1"))
    assert "all 5 rows are held out" in refused(local(path, eval_size=5))


def test_a_wrong_revision_names_those_that_are_there(hub):
    fetched(hub, "openai/gsm8k", "gsm8k")
    at = ("gsm8k", "task.eval_size=1")
    message = refused(preset(*at, "task.revision=v2"))
    assert f"at revision v2 in the local cache (there: {COMMIT})" in message
    assert message.endswith("hf download --repo-type dataset openai/gsm8k --revision v2")
    assert len(preset(*at, f"task.revision={COMMIT}").eval_problems()) == 1


def test_a_dataset_half_fetched(hub):
    snapshot = fetched(hub, "openai/gsm8k", "gsm8k")
    for file in snapshot.rglob("*.parquet"):
        file.unlink()
    assert "fetch it again: hf download --repo-type dataset openai/gsm8k" in refused(preset("gsm8k"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task.eval_size=null"], "nothing is held out"),
        (["task.eval_split=train"], "is the training split"),
        (["task.prompt_template=x"], "task.prompt_template=x: the row's prompt goes where {problem} stands"),
        (["task.answer_form=box"], "task.answer_form=box"),
        (["task.name=a/b"], "task.name=a/b"),
        (["task.max_bad_fraction=2"], "task.max_bad_fraction=2"),
        (["+task.prompt_colum=x"], "did you mean 'task.prompt_column'"),
    ],
)
def test_mistakes_that_need_no_rows(overrides, words):
    with pytest.raises(RequestError) as caught:
        preset("local", *overrides)
    assert words in str(caught.value)


@pytest.mark.slow
def test_nothing_heavy_is_imported_for_a_task_that_has_no_rows_and_nothing_asks_the_network():
    """A socket that is opened fails the second half: `datasets` counts its loads with a request where it can."""
    code = f"""
import sys, socket
from tests.compose import composed
from tgpo.config.check import check
request = check(composed("output_dir=unused"))
request.task.train_problems(0, 1, 2)
check(composed("task=gsm8k", "eval=math", "output_dir=unused"))
assert "datasets" not in sys.modules
def refuse(*_, **__):
    raise AssertionError("network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for path in ("gsm8k", "gsm8k/main/train-00000-of-00001.parquet"):
    subset = "main" if path == "gsm8k" else "null"
    overrides = [f"task.path={FIXTURES}/" + path, f"task.subset={{subset}}", "task.eval_split=null", "task.eval_size=1"]
    assert check(composed("task=gsm8k", *overrides, "output_dir=unused")).task.eval_problems()
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
