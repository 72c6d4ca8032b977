"""Rows of a dataset as a task: hub datasets in the local cache, local folders, single files."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence
from dataclasses import field
from functools import cached_property, lru_cache
from itertools import chain, islice
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from tgpo.errors import RequestError
from tgpo.tasks.answers import AnswerForm, further_text, gold_answer, judge, question
from tgpo.tasks.base import Rewards
from tgpo.tasks.cells import CellError
from tgpo.tasks.hints import answer_form_of
from tgpo.tasks.rows import RowFilter
from tgpo.tasks.source import Source
from tgpo.types.problem import Problem

Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]  # part of metric names, as in eval/NAME/accuracy
FIXED = ConfigDict(extra="forbid", ignored_types=(cached_property,))

FIRST_ROWS = 1_000  # as many tell the form of the answers

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=FIXED)
class Rows:
    """Which rows to read, and how a row becomes a problem.

    Rows without a prompt or an answer are counted, reported and skipped. `prompt_column` holds text or chat messages;
    their system turn is kept unless `system_prompt` replaces it.
    """

    name: Name
    path: str | None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    prompt_column: str
    answer_column: str
    answer_form: AnswerForm | None = None
    extra_columns: dict[Name, str] = field(default_factory=dict)
    prompt_template: str = "{problem}"
    system_prompt: str | None = None
    require_boxed: bool = True
    require_think_end: bool = False
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01

    @field_validator("prompt_template")
    @classmethod
    def _has_placeholder(cls, template: str) -> str:
        if "{problem}" not in template:
            raise ValueError("the row's prompt goes where {problem} stands, and it is missing")
        return template

    @property
    def section(self) -> str:
        """The section of the configuration that holds these options."""
        return "task"

    @property
    def columns(self) -> dict[str, str]:
        """The columns to read, as {option: name of the column}."""
        return {"prompt_column": self.prompt_column, "answer_column": self.answer_column, **self.further_columns}

    @property
    def further_columns(self) -> dict[str, str]:
        return {f"extra_columns.{name}": column for name, column in self.extra_columns.items()}

    def question_of(self, row: dict[str, Any], form: AnswerForm) -> tuple[str | None, str | None, str | None]:
        """Returns the prompt, the system prompt and the gold answer of a row, whose keys are those of `columns`."""
        prompt, system = question(row["prompt_column"])
        full_prompt = None if not prompt or not prompt.strip() else self.prompt_template.replace("{problem}", prompt)
        return full_prompt, system, gold_answer(row["answer_column"], form)

    def extra_of(self, row: dict[str, Any]) -> dict[str, str]:
        """Returns the further texts that the row holds, by the names that `extra_columns` gives them."""
        options = {name: f"extra_columns.{name}" for name in self.extra_columns}
        texts = {name: further_text(row[option], option) for name, option in options.items()}
        return {name: text for name, text in texts.items() if text and text.strip()}

    def problems(
        self, path: str | None, subset: str | None, split: str, revision: str | None, option: str = "path"
    ) -> list[Problem]:
        """Returns the problems of a dataset; `option` is the option that names it, for messages."""
        if path is None:
            raise RequestError(f"{self.section}.path says where the rows are: a parquet or JSON file, or a folder")
        source = Source(self.section, path, subset, split, revision, option)
        usable, problems = RowFilter(source.words, self.max_bad_fraction, self.section), []
        rows = source.rows(self.columns)
        first = list(islice(rows, FIRST_ROWS))
        form = self.answer_form or self._form(first)
        for number, row in enumerate(chain(first, rows)):
            name = f"{self.name}/{split}/{number}"
            try:
                prompt, system, answer = self.question_of(row, form)
                extra = self.extra_of(row)
            except CellError as error:
                raise self._refusal(name, error) from error
            if usable.keep(name, prompt, answer):
                assert prompt is not None and answer is not None
                own = system if self.system_prompt is None else self.system_prompt or None
                problems.append(Problem(name, prompt, answer, self.name, own, extra))
        usable.check()
        if not problems:
            raise RequestError(f"{source.words}: none of its {usable.seen} rows has a prompt and an answer")
        if self.require_boxed and 2 * sum(asks_without_box(problem) for problem in problems) > len(problems):
            log.warning(
                '%s: the prompts ask for "Answer:" and no box, without which a response gets no reward; '
                "set %s.require_boxed=false", source.words, self.section,
            )  # fmt: skip
        return problems

    def _form(self, first: Sequence[dict[str, Any]]) -> AnswerForm:
        form = answer_form_of([row["answer_column"] for row in first])
        if form != "verbatim":
            log.warning(
                "%s.answer_column=%s holds worked solutions; answers are read from them as with %s.answer_form=%s",
                self.section, self.answer_column, self.section, form,
            )  # fmt: skip
        return form

    def _refusal(self, row: str, error: CellError) -> RequestError:
        """Returns the error for a cell of the wrong type, which names the field that could be meant."""
        named = f"{self.section}.{error.option}={self.columns[error.option]}"
        fix = f"set {named}.{error.field}" if error.field else error.fix
        return RequestError(f"{named}: row {row} holds {error}; {fix}")

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return judge(
            [problem.answer for problem in problems],
            responses,
            require_boxed=self.require_boxed,
            require_think_end=self.require_think_end,
        )


@dataclass(frozen=True, kw_only=True, config=FIXED)
class DatasetTask(Rows):
    """Rows to train on and held-out rows.

    The held-out rows come from another split (`eval_split`) or another dataset (`eval_path`); with neither, they are
    `eval_size` of the training rows, chosen by the hash of their prompt. A held-out prompt is never trained on, even
    if the training rows contain it too. With `eval_split` or `eval_path`, `eval_size` limits the number of held-out
    problems, and null takes all.
    """

    eval_path: str | None = None
    eval_split: str | None = None
    eval_size: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _holds_out(self) -> DatasetTask:
        if self.eval_path is None and self.eval_split is None and self.eval_size is None:
            raise ValueError("nothing is held out; give eval_split, eval_path or eval_size")
        if self.eval_path is None and self.eval_split == self.split:
            raise ValueError(f"eval_split={self.eval_split} is the training split; take some of it with eval_size")
        return self

    def train_problems(self, seed: int, step: int, count: int) -> list[Problem]:
        """Returns the `count` problems of a step. Each epoch has its own order. A pure function of its arguments."""
        pool = self._split[0]
        positions = [divmod((step - 1) * count + i, len(pool)) for i in range(count)]
        return [pool[order(self.name, seed, epoch, len(pool))[row]] for epoch, row in positions]

    def eval_problems(self) -> list[Problem]:
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[list[Problem], list[Problem]]:
        """The training problems and the held-out problems."""
        rows = self.problems(self.path, self.subset, self.split, self.revision)
        elsewhere = self.eval_path is not None
        if elsewhere or self.eval_split is not None:
            split = self.eval_split or "train"
            others = (
                self.problems(self.eval_path, None, split, None, "eval_path")
                if elsewhere
                else self.problems(self.path, self.subset, split, self.revision)
            )
        else:
            others = rows
        by_hash = sorted({fingerprint(p.prompt): p for p in reversed(others)}.items())  # each prompt once
        chosen = by_hash[: self.eval_size]
        # a separate held-out set stays out of training completely, even if only `eval_size` of it is evaluated
        apart = {key for key, _ in (chosen if others is rows else by_hash)}
        training = [p for p in rows if fingerprint(p.prompt) not in apart]
        if not training:
            raise RequestError(
                f"{self.section}.path={self.path}: all {len(rows)} rows are held out, none is left to train on; lower "
                "task.eval_size"
            )
        if others is not rows and len(training) < len(rows):
            log.warning("%s: %d training rows are held-out problems and left out", self.name, len(rows) - len(training))
        return training, [problem for _, problem in chosen]


def asks_without_box(problem: Problem) -> bool:
    text = f"{problem.system or ''} {problem.prompt}"
    return "Answer:" in text and "box" not in text


def fingerprint(prompt: str) -> str:
    """Returns the hash that decides a prompt's side of the split. Differences in white space do not change it."""
    return hashlib.blake2b(" ".join(prompt.split()).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=4)
def order(name: str, seed: int, epoch: int, size: int) -> Sequence[int]:
    """Returns the order of the rows in one epoch."""
    rows = list(range(size))
    random.Random(f"train/{name}/{seed}/{epoch}").shuffle(rows)
    return rows
