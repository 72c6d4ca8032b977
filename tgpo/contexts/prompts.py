"""Renders the teacher's prompts: its chat template, its system turn, and the privileged text of its context."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tgpo.contexts.base import CONTEXT, PROBLEM, Context
from tgpo.contexts.none import NoContext
from tgpo.models.loading import load_tokenizer
from tgpo.options import StudentOptions, TeacherOptions
from tgpo.rollout.base import encode_prompts
from tgpo.types.problem import Answered, Problem

AS_THE_STUDENT, OWN = "student", "own"  # values of teacher.chat_template besides files and shipped templates


@dataclass(frozen=True)
class TeacherPrompts:
    """`tokenizer` has the teacher's chat template; `system` None keeps the problem's own system turn, and an empty one
    removes it; `room` is the number of tokens that the teacher can read, None for any number."""

    context: Context
    tokenizer: Any
    system: str | None = None
    room: int | None = None

    def turns(self, answered: Sequence[Answered]) -> list[Problem | None]:
        """Returns what the teacher reads in place of each problem; None where the context has no text."""
        texts = self.context.texts(answered)
        return [
            None if text is None else self._turn(each.problem, text) for each, text in zip(answered, texts, strict=True)
        ]

    def encode(self, answered: Sequence[Answered]) -> list[tuple[int, ...] | None]:
        """Returns the ids of the teacher's prompt for each response, None where the context has no text. Each distinct
        prompt is encoded once."""
        turns = self.turns(answered)
        distinct = {(turn.prompt, turn.system): turn for turn in turns if turn is not None}
        encoded = encode_prompts(self.tokenizer, list(distinct.values())) if distinct else []
        ids = dict(zip(distinct, encoded, strict=True))
        return [None if turn is None else ids[turn.prompt, turn.system] for turn in turns]

    def possible(self, problems: Sequence[Problem], at_once: int) -> list[Problem]:
        """Returns what the teacher may read for these problems, `at_once` of which are in a batch, before there are
        responses. A response that would be quoted is left out: its length is that of any response."""
        if self.context.quotes_a_response:
            return [self._turn(problem, "") for problem in problems]
        rewards = (0.0, 1.0) if self.context.needs_rewards else (0.0,)
        batches = [problems[first : first + at_once] for first in range(0, len(problems), at_once)]
        answered = [
            [Answered(p, "", reward, i) for i, p in enumerate(batch)] for batch in batches for reward in rewards
        ]
        return [turn for each in answered for turn in self.turns(each) if turn is not None]

    def _turn(self, problem: Problem, text: str) -> Problem:
        places = {PROBLEM: problem.prompt, CONTEXT: text}
        system = problem.system if self.system is None else self.system or None
        return replace(problem, prompt=filled(self.context.template, places), system=system)


def filled(template: str, places: Mapping[str, str]) -> str:
    """Replaces the places of the template in one pass: a problem that contains `{context}` keeps it."""
    return re.sub("|".join(map(re.escape, places)), lambda place: places[place[0]], template)


def load_prompts(
    student: StudentOptions, teacher: TeacherOptions, context: Context, tokenizer: Any, room: int | None
) -> TeacherPrompts | None:
    """Returns the teacher's prompts; None if the teacher reads exactly what the student reads.

    Args:
        tokenizer: the student's.
        room: the tokens that the teacher can read.
    """
    template = teacher.chat_template
    same = template == AS_THE_STUDENT and not teacher.template_arguments and teacher.system_prompt is None
    if same and isinstance(context, NoContext):
        return None
    if template != AS_THE_STUDENT or teacher.template_arguments:
        tokenizer = own_tokenizer(student, teacher)
    return TeacherPrompts(context, tokenizer, teacher.system_prompt, room)


def own_tokenizer(student: StudentOptions, teacher: TeacherOptions) -> Any:
    """Returns a tokenizer with the chat template of the teacher's prompts and its variables.

    It is the teacher's own, unless the prompts are the student's; that of a teacher behind a server is not on this
    machine, and the student's gives the same ids.
    """
    where = "teacher.chat_template", teacher.template_arguments
    if teacher.chat_template == AS_THE_STUDENT:
        return load_tokenizer(student.path, student.revision, student.chat_template, student.date, *where)
    template = None if teacher.chat_template == OWN else teacher.chat_template
    path, revision = (teacher.local_path, teacher.revision) if teacher.local_path else (student.path, student.revision)
    return load_tokenizer(path, revision, template, student.date, *where)
