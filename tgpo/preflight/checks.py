"""The preflight checks in order, the checks that each one depends on, and how their results are reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from tgpo.config.request import Request
from tgpo.errors import ProblemsError, RequestError
from tgpo.preflight import contexts, files, lengths, machine, objective, tokens
from tgpo.preflight.look import STUDENT, Inspection, Note, Role

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


def model_checks(role: Role) -> list[Check]:
    """Returns the checks of one model's files: the student's, or a teacher's."""

    def check(name: str, look: Callable[..., str | None], *after: str) -> Check:
        return Check(f"{role}'s {name}", partial(look, role=role), tuple(f"{role}'s {other}" for other in after))

    return [
        check("files", files.check_files),
        check("weights", files.check_weights),
        check("config", files.check_config, "files"),
        check("shapes", files.check_fit, "config", "weights"),
    ]


def teacher_checks(role: Role) -> list[Check]:
    """Returns what else is checked of a teacher."""

    def check(name: str, look: Callable[..., str | None], *after: str) -> Check:
        return Check(f"{role}'s {name}", partial(look, role=role), after)

    return [
        check("tokenizer", tokens.check_tokenizers, TOKENIZER, f"{role}'s files"),
        check("prompts", contexts.check_teacher_prompts, "problems", "routes", f"{role}'s tokenizer"),
        check("server", lengths.check_server, "problems", "routes"),
    ]


TOKENIZER = f"{STUDENT}'s tokenizer"


def checks_of(request: Request) -> list[Check]:
    """Returns the checks of a run in order; those of a teacher are made for each one."""
    roles = [teacher.section for teacher in request.teachers]
    models = [check for role in (STUDENT, *roles) for check in model_checks(role)]
    of_teachers = [check for role in roles for check in teacher_checks(role)]

    def named(what: str) -> tuple[str, ...]:
        return tuple(check.name for check in (*models, *of_teachers) if check.name.endswith(f"'s {what}"))

    return [
        Check("objective", objective.check_objective, of_models=False),
        Check("engines", objective.check_backends, of_models=False),
        Check("demonstrations", objective.check_demonstrations, of_models=False),
        Check("device", machine.check_device),
        *models,
        Check(TOKENIZER, tokens.check_student_tokenizer, (f"{STUDENT}'s files",)),
        Check("chat template", tokens.check_template, (TOKENIZER,)),
        Check("problems", lengths.check_problems, ("chat template",)),
        Check("training prompts", lengths.check_training_prompts, ("problems",), of_models=False),
        Check("routes", contexts.check_routes, ("problems",)),
        *of_teachers,
        Check("end of a response", tokens.check_ends, (TOKENIZER, *named("tokenizer"))),
        Check(
            "demonstrations written", objective.check_written_demonstrations, ("end of a response",), of_models=False
        ),
        Check("widths", lengths.check_widths, (TOKENIZER, *named("tokenizer"), *named("config"), *named("shapes"))),
        Check("held-out prompts", lengths.check_held_out_prompts, ("chat template", "problems")),
        Check("lengths", lengths.check_lengths, ("problems", *named("prompts"), *named("config"))),
        Check("demonstrations given", objective.check_given_demonstrations, ("problems",), of_models=False),
        Check("memory", machine.check_memory, ("lengths",), of_models=False),
        Check("a step's arithmetic", machine.check_arithmetic, ("lengths",), of_models=False, table_only=True),
        Check("disk", machine.check_disk, (f"{STUDENT}'s config",), of_models=False),
        Check("W&B", machine.check_wandb, of_models=False, table_only=True),
    ]


def preflight(request: Request) -> None:
    """Raises RequestError with every problem of a training run, and prints nothing if there is none."""
    refuse(run(Inspection(request), [check for check in checks_of(request) if not check.table_only]))


def check_models(request: Request) -> None:
    """Raises RequestError likewise for a program that loads the models and does not train."""
    refuse(run(Inspection(request), [check for check in checks_of(request) if check.of_models]))


def check_student(request: Request) -> Inspection:
    """Does the same for a program that loads the student alone; returns what the checks have read."""
    look = Inspection(request)
    of_the_student = [check.name for check in model_checks(STUDENT)]
    names = ("device", *of_the_student, TOKENIZER, "chat template", "held-out prompts")
    refuse(run(look, [check for check in checks_of(request) if check.name in names]))
    return look


def inspect_all(request: Request) -> list[Row]:
    """Returns a row for each check that was run, problems first, and one row that names all skipped checks."""
    rows = run(Inspection(request), checks_of(request))
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
