"""The result of checking a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tgpo.options import RunOptions, ServerOptions, TeacherOptions
from tgpo.teachers.route import routed
from tgpo.types.problem import Problem


@dataclass(frozen=True, eq=False)
class TeacherRequest:
    """One teacher of a run: its options, and the context that finds the text it reads.

    `section` is where its options are: `teacher`, or with several `teachers.NAME`.
    """

    section: str
    options: TeacherOptions
    context: Any

    @property
    def name(self) -> str:
        return self.options.name


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request: the options, and the objects that are built directly from the configuration.

    Requests compare by identity and are hashable, so that results can be cached by request.
    """

    options: RunOptions
    objective: Any
    task: Any
    teachers: tuple[TeacherRequest, ...]  # none for teacher=none
    resolved: dict[str, Any]
    benchmarks: tuple[Any, ...] = ()

    def teacher_of(self, problem: Problem) -> TeacherRequest:
        """Returns the teacher of a problem; raises RequestError if `teacher.route` names none."""
        return self.teachers[routed(problem, self.options.teacher.route, [each.name for each in self.teachers])]

    def servers_of(self, teacher: TeacherRequest) -> ServerOptions:
        """Returns the servers that a teacher is behind: its own, else those of `server.urls`."""
        urls = teacher.options.urls
        return self.options.server.model_copy(update={"urls": urls}) if urls else self.options.server
