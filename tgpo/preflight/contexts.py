"""Checks of the teachers: each problem has one, and each reads what its context and its chat template should give."""

from __future__ import annotations

from collections import Counter

from tgpo.config.sizes import context_name, possible_turns, training_problems
from tgpo.contexts.prompts import load_prompts
from tgpo.errors import RequestError
from tgpo.preflight.lengths import FIRST, check_rendered
from tgpo.preflight.look import Inspection, Note, Role


def check_routes(look: Inspection) -> str | None:
    """Checks that each training problem has a teacher; returns each teacher's share of them."""
    request, route = look.request, look.options.teacher.route
    if route is None:
        return None
    problems = training_problems(request, look.options.train.steps)
    counts = Counter(request.teacher_of(problem).name for problem in problems)
    shares = ", ".join(f"{teacher.name} {counts[teacher.name] / len(problems):.1%}" for teacher in request.teachers)
    listed = f"{len(problems)} problems by {route}: {shares}"
    return Note(f"{listed}; some teach nothing") if len(counts) < len(request.teachers) else listed


def check_teacher_prompts(look: Inspection, role: Role) -> str | None:
    """Returns the first prompt that a teacher reads, where it is not the student's."""
    request, teacher = look.request, look.teachers[role]
    prompts = load_prompts(look.options.student, teacher.options, teacher.context, look.tokenizer, None)
    problems = [problem for problem in training_problems(request) if request.teacher_of(problem) is teacher]
    if prompts is None or not problems:
        return None
    name, turns = context_name(teacher.context), possible_turns(request, teacher, prompts)
    if not turns:
        raise RequestError(
            f"{role}.context={name}: none of the first {len(problems)} problems gives it a text; "
            f"{teacher.context.remedy()}"
        )
    first = check_rendered(prompts.tokenizer, turns[:FIRST], f"{role}.chat_template")
    missing = len({problem.id for problem in problems} - {turn.id for turn in turns})
    if missing:
        return Note(f"{missing} of the first {len(problems)} problems have no text for {name}; the first: {first!r}")
    return f"the first: {first!r}"
