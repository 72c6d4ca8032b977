"""Checks of what the teacher reads: its context has texts for the problems, and its prompts hold them."""

from __future__ import annotations

from tgpo.config.sizes import context_name, training_problems
from tgpo.contexts.prompts import load_prompts
from tgpo.errors import RequestError
from tgpo.preflight.lengths import FIRST, check_rendered
from tgpo.preflight.look import Inspection, Note


def check_teacher_prompts(look: Inspection) -> str | None:
    """Returns the first prompt that the teacher reads, where it is not the student's."""
    options, request = look.options, look.request
    if options.teacher.path is None:
        return None
    name = context_name(request)
    prompts = load_prompts(options, request.context, look.tokenizer, None)
    if prompts is None:
        return None
    problems = training_problems(request)
    turns = prompts.possible(problems, options.rollout.prompts_per_batch)
    if not turns:
        raise RequestError(
            f"teacher.context={name}: none of the first {len(problems)} problems gives it a text; "
            f"{request.context.remedy()}"
        )
    first = check_rendered(prompts.tokenizer, turns[:FIRST], "teacher.chat_template")
    missing = len({problem.id for problem in problems} - {turn.id for turn in turns})
    if missing:
        return Note(f"{missing} of the first {len(problems)} problems have no text for {name}; the first: {first!r}")
    return f"the first: {first!r}"
