"""The prompts that a run sends are rendered beforehand: what its chat template cannot say is refused."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.compose import composed
from tests.conftest import called
from tests.preflight.requests import refused, row
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.evaluation.examine import plan
from tgpo.models.loading import load_tokenizer
from tgpo.rollout.base import render
from tgpo.runs.sweep import Cell, day_of, write_plan
from tgpo.types.problem import Problem

USER = "<|user|>{{ messages[-1]['content'] }}<|assistant|>"
BOTH = "{{ messages[0]['content'] }} " + USER


@pytest.fixture
def local(tmp_path):
    """Options of a task with a system prompt, and a function that makes its template."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{i}+1", "answer": str(i + 1)}) + "\n" for i in range(20)))
    template = tmp_path / "template.jinja"

    def options(text: str, system: str = "Box it.") -> list[str]:
        template.write_text(text)
        columns = ["task.prompt_column=question", "task.answer_column=answer", "task.eval_size=4"]
        return ["task=local", f"task.path={rows}", *columns, f"task.system_prompt='{system}'",
                f"student.chat_template={template}"]  # fmt: skip

    return options


RAISES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + USER


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (RAISES, "does not render the problem local/train/"),
        ("{% if messages[0]['role'] == 'system' %}{{ 1 + 'a' }}{% endif %}" + USER, "does not render the problem"),
        (USER, "leaves the system prompt of local/train/"),
        ("{{ messages[0]['content'] }}{% if messages[1] is not defined %}" + USER + "{% endif %}", "the question of"),
    ],
)
def test_a_template_that_cannot_say_it_is_refused(local, template, words):
    message = refused(*local(template))
    assert words in message and "student.chat_template" in message
    assert "\n" not in message


def test_the_first_prompt_is_printed(local):
    assert "Box it. <|user|>" in row("training prompts", *local(BOTH)).text


def test_without_a_system_prompt_the_template_needs_no_place_for_it(local):
    assert row("training prompts", *local(USER, system="")).state == "in order"


@pytest.mark.parametrize("program", ["run", "preflight", "evaluation"])
def test_every_program_says_it_in_one_line(local, program, tmp_path):
    options = local(RAISES)
    if program == "evaluation":
        process = called("checkpoint=tiny:large-gap", f"output={tmp_path / 'out'}", *options, module="tgpo.evaluation")
    else:
        more = ["preflight_only=true"] if program == "preflight" else []
        process = called(*options, *more, f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert "System role not supported" in process.stderr + process.stdout


def test_an_evaluation_looks_at_its_own_prompts(local):
    with pytest.raises(RequestError, match="leaves the system prompt"):
        plan(check(composed("output_dir=unused", *local(USER))))


CLOCK = '{{ strftime_now("%d %b %Y") }} ' + USER


def test_a_template_that_asks_for_the_time_gets_the_runs_own_date(local, tmp_path):
    def date(*more: str, today: str | None = None) -> str | None:
        return check(composed("output_dir=unused", *local(CLOCK, system=""), *more), today).options.student.date

    assert date(today="2020-01-02") == "2020-01-02"  # of the sweep that the run belongs to
    assert date() == datetime.date.today().isoformat()
    assert date("student.date=2021-03-04", today="2020-01-02") == "2021-03-04"
    assert "'04 Mar 2021 <|user|>" in row("training prompts", *local(CLOCK, ""), "student.date=2021-03-04").text
    assert check(composed("output_dir=unused", *local(USER, system=""))).options.student.date is None


def test_a_saved_tokenizer_still_asks_for_the_time(local, tmp_path):
    """What a checkpoint saves is the template, not the date of the run."""
    local(CLOCK)
    tokenizer = load_tokenizer("tiny:teacher", chat_template=str(tmp_path / "template.jinja"), date="2020-01-02")
    problem = Problem("p", "1+1", "2", "t")
    assert render(tokenizer, [problem], tokenize=False) == ["02 Jan 2020 <|user|>1+1<|assistant|>"]
    tokenizer.save_pretrained(tmp_path / "saved")
    later = load_tokenizer(str(tmp_path / "saved"), date="2021-03-04")
    assert render(later, [problem], tokenize=False) == ["04 Mar 2021 <|user|>1+1<|assistant|>"]


def test_the_runs_of_a_sweep_share_the_date_on_which_it_began(tmp_path):
    write_plan(tmp_path / "sweep", [Cell("0", ("seed=0",))], [])
    assert day_of(tmp_path / "sweep") == datetime.date.today().isoformat()
    assert day_of(tmp_path) is None
