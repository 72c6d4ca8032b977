"""The preflight checks in order, the checks that each one depends on, and how their results are reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from tgpo.config.request import Request
from tgpo.errors import ProblemsError, RequestError
from tgpo.preflight import contexts, files, lengths, machine, objective, tokens
from tgpo.preflight.look import Inspection, Note

State = Literal["problem", "note", "in order", "not looked at"]


class Row(NamedTuple):
    name: str
    state: State
    text: str


class Check(NamedTuple):
    """One check, which is skipped if a check named in `after` failed.

    `look` returns a description of what it found, or None if there is nothing to check. It raises RequestError for a
    problem, with a message that says how to fix it.
    """

    name: str
    look: Callable[[Inspection], str | None]
    after: tuple[str, ...] = ()
    of_models: bool = True  # whether programs that only load the models run it too
    table_only: bool = False  # only for the table of `preflight_only=true`, because it never finds a problem


STUDENT, TEACHER, TOKENIZER = "student's files", "teacher's files", "student's tokenizer"
CONFIGS = ("student's config", "teacher's config")
SHAPES = ("student's shapes", "teacher's shapes")
WEIGHTS = ("student's weights", "teacher's weights")
CHECKS = (
    Check("objective", objective.check_objective, of_models=False),
    Check("engines", objective.check_backends, of_models=False),
    Check("demonstrations", objective.check_demonstrations, of_models=False),
    Check("device", machine.check_device),
    Check(STUDENT, partial(files.check_files, role="student")),
    Check(TEACHER, partial(files.check_files, role="teacher")),
    Check(WEIGHTS[0], partial(files.check_weights, role="student")),
    Check(WEIGHTS[1], partial(files.check_weights, role="teacher")),
    Check(CONFIGS[0], partial(files.check_config, role="student"), (STUDENT,)),
    Check(CONFIGS[1], partial(files.check_config, role="teacher"), (TEACHER,)),
    Check(SHAPES[0], partial(files.check_fit, role="student"), (CONFIGS[0], WEIGHTS[0])),
    Check(SHAPES[1], partial(files.check_fit, role="teacher"), (CONFIGS[1], WEIGHTS[1])),
    Check(TOKENIZER, tokens.check_student_tokenizer, (STUDENT,)),
    Check("chat template", tokens.check_template, (TOKENIZER,)),
    Check("tokenizers", tokens.check_tokenizers, (TOKENIZER, TEACHER)),
    Check("end of a response", tokens.check_ends, ("tokenizers",)),
    Check("demonstrations written", objective.check_written_demonstrations, ("end of a response",), of_models=False),
    Check("widths", lengths.check_widths, ("tokenizers", *CONFIGS, *SHAPES)),
    Check("problems", lengths.check_problems, ("chat template",)),
    Check("training prompts", lengths.check_training_prompts, ("problems",), of_models=False),
    Check("teacher's prompts", contexts.check_teacher_prompts, ("problems", "tokenizers")),
    Check("held-out prompts", lengths.check_held_out_prompts, ("chat template", "problems")),
    Check("lengths", lengths.check_lengths, ("problems", "teacher's prompts", *CONFIGS)),
    Check("teacher's server", lengths.check_server, ("problems",)),
    Check("demonstrations given", objective.check_given_demonstrations, ("problems",), of_models=False),
    Check("memory", machine.check_memory, ("lengths",), of_models=False),
    Check("a step's arithmetic", machine.check_arithmetic, ("lengths",), of_models=False, table_only=True),
    Check("disk", machine.check_disk, ("student's config",), of_models=False),
    Check("W&B", machine.check_wandb, of_models=False, table_only=True),
)


def preflight(request: Request) -> None:
    """Raises RequestError with every problem of a training run, and prints nothing if there is none."""
    refuse(run(Inspection(request), [check for check in CHECKS if not check.table_only]))


def check_models(request: Request) -> None:
    """Raises RequestError likewise for a program that loads the models and does not train."""
    refuse(run(Inspection(request), [check for check in CHECKS if check.of_models]))


def check_student(request: Request) -> Inspection:
    """Does the same for a program that loads the student alone; returns what the checks have read."""
    look = Inspection(request)
    names = ("device", STUDENT, WEIGHTS[0], CONFIGS[0], SHAPES[0], TOKENIZER, "chat template", "held-out prompts")
    refuse(run(look, [check for check in CHECKS if check.name in names]))
    return look


def inspect_all(request: Request) -> list[Row]:
    """Returns a row for each check that was run, problems first, and one row that names all skipped checks."""
    rows = run(Inspection(request), CHECKS)
    skipped = [row.name for row in rows if row.state == "not looked at"]
    rows = [row for row in rows if row.state != "not looked at"]
    if skipped:
        rows.append(Row("", "not looked at", f"{', '.join(skipped)}: fix the problems first"))
    order: list[State] = ["problem", "note", "not looked at", "in order"]
    return sorted(rows, key=lambda row: order.index(row.state))


def refuse(rows: Sequence[Row]) -> None:
    problems = [row.text for row in rows if row.state == "problem"]
    if problems:
        raise RequestError(problems[0]) if len(problems) == 1 else ProblemsError(problems)


def run(look: Inspection, checks: Sequence[Check]) -> list[Row]:
    """Runs the checks in order; skips each that depends on a failed one, whose problem it would only repeat."""
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for check in checks:
        blocked = next((name for name in check.after if name in failed), None)
        if blocked is not None:
            rows.append(Row(check.name, "not looked at", f"after: {blocked}"))
            failed[check.name] = blocked
            continue
        try:
            result = check.look(look)
        except RequestError as error:
            rows.append(Row(check.name, "problem", str(error)))
            failed[check.name] = check.name
            continue
        if result is not None:
            rows.append(Row(check.name, "note" if isinstance(result, Note) else "in order", result))
    return rows
