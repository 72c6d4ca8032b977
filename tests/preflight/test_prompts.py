"""The prompts that a run sends are rendered beforehand: what its chat template cannot say is refused."""

from __future__ import annotations

import json

import pytest

from tests.compose import composed
from tests.conftest import called
from tests.preflight.requests import refused, row
from tgpo.config.check import check
from tgpo.errors import RequestError
from tgpo.evaluation.examine import plan

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
