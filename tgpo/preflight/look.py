"""What several checks read: a request and its models' configurations and tokenizers, each loaded once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from tgpo.config.request import Request, TeacherRequest
from tgpo.models.loading import load_config, load_tokenizer
from tgpo.options import StudentOptions, TeacherOptions

STUDENT = "student"
Role = str  # STUDENT, or the section of a teacher: `teacher`, or one of several `teachers.NAME`


class Note(str):
    """The result of a check that found no problem, but something that the user should know."""


class Inspection:
    """A request, and what was read from its models' folders.

    A check may read what earlier checks have stored here: `Check.after` makes sure that they succeeded.
    """

    def __init__(self, request: Request) -> None:
        self.request, self.options = request, request.options
        self.teachers: dict[Role, TeacherRequest] = {teacher.section: teacher for teacher in request.teachers}
        self._tokenizers: dict[Role, Any] = {}
        self.folders: dict[Role, Path] = {}  # of the models on this machine; set by check_files
        self.shapes: dict[Role, dict[str, tuple[int, ...]]] = {}  # from the weights' files; set by check_weights
        self.parameters: dict[Role, int] = {}
        self.configs: dict[Role, Any] = {}

    def model(self, role: Role) -> StudentOptions | TeacherOptions:
        return self.options.student if role == STUDENT else self.teachers[role].options

    @cached_property
    def tokenizer(self) -> Any:
        student = self.options.student
        return load_tokenizer(student.path, student.revision, student.chat_template, student.date)

    @cached_property
    def strings(self) -> list[str | None]:
        """Returns the token of each id of the student's tokenizer, None for an id without one."""
        return id_strings(self.tokenizer)

    def tokenizer_of(self, role: Role) -> Any:
        """Returns the tokenizer of a teacher on this machine."""
        if role not in self._tokenizers:
            teacher = self.teachers[role].options
            assert teacher.local_path is not None
            self._tokenizers[role] = load_tokenizer(teacher.local_path, teacher.revision)
        return self._tokenizers[role]

    def read_config(self, role: Role) -> Any:
        options = self.model(role)
        assert options.path is not None
        self.configs[role] = load_config(options.path, options.revision, options.config)
        return self.configs[role]


def id_strings(tokenizer: Any) -> list[str | None]:
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    return [by_id.get(index) for index in range(max(by_id) + 1)]
