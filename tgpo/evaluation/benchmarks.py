"""Public benchmarks: rows of a dataset, read like those of a task, with the sampling that the literature uses."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tgpo.errors import RequestError
from tgpo.tasks.answers import AnswerForm, judge_letters, question
from tgpo.tasks.base import Rewards
from tgpo.tasks.cells import CellError, described, likely_field, plain_text, structure
from tgpo.tasks.dataset import FIXED, Rows
from tgpo.types.problem import Problem

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True, config=FIXED)
class Benchmark(Rows):
    """All rows are evaluated; `size` is their expected number, so that an incomplete copy is detected."""

    samples: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0)]
    max_response_length: Annotated[int, Field(ge=1)]
    size: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _samples_differ(self) -> Benchmark:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples={self.samples}: at temperature 0 they are all the same; use samples=1")
        return self

    @property
    def section(self) -> str:
        return f"eval.benchmarks.{self.name}"

    def eval_problems(self) -> list[Problem]:
        return self._problems

    @cached_property
    def _problems(self) -> list[Problem]:
        problems = self.problems(self.path, self.subset, self.split, self.revision)
        if self.size is not None and len(problems) != self.size:
            raise RequestError(
                f"{self.section}.path={self.path}: {len(problems)} problems there, the benchmark has {self.size}; for "
                f"part of it, or another version, set {self.section}.size={len(problems)}"
            )
        return problems


@dataclass(frozen=True, kw_only=True, config=FIXED)
class MultipleChoice(Benchmark):
    """Questions with lettered options; the model is to give the letter of the right one.

    `choices_columns` is one column that holds a list, or several columns of one option each. The answer column holds
    the right option's letter (or its label, if `labels_column` names other labels), or the option itself.
    `shuffle_seed` shuffles the options of each problem, which is needed where the right one always comes first.
    """

    choices_columns: tuple[str, ...]
    labels_column: str | None = None
    answer_is: Literal["label", "option"] = "label"
    shuffle_seed: int | None = None

    @model_validator(mode="after")
    def _shows_choices(self) -> MultipleChoice:
        if "{choices}" not in self.prompt_template:
            raise ValueError("prompt_template: the options go where {choices} stands, and it is missing")
        if self.answer_is == "option" and self.labels_column is not None:
            raise ValueError("labels_column is read where answer_is=label")
        return self

    @property
    def columns(self) -> dict[str, str]:
        labels = {} if self.labels_column is None else {"labels_column": self.labels_column}
        choices = {f"choices_columns[{i}]": column for i, column in enumerate(self.choices_columns)}
        return {**super().columns, **labels, **choices}

    def question_of(self, row: dict[str, Any], form: AnswerForm) -> tuple[str | None, str | None, str | None]:
        prompt, system, answer = super().question_of(row, form)
        choices = {name: row[name] for name in self.columns if name.startswith("choices_columns")}
        texts = option_texts(choices)
        if prompt is None or texts is None:
            return None, system, None
        labels = list(LETTERS[: len(texts)])
        if self.labels_column is not None:
            labels = texts_of(row["labels_column"], "labels_column")
        known = texts if self.answer_is == "option" else labels
        if answer is None or answer not in known:
            return prompt, system, None
        places = list(range(len(texts)))
        if self.shuffle_seed is not None:
            random.Random(f"{self.shuffle_seed}/{question(row['prompt_column'])[0]}").shuffle(places)
        lines = [f"{letter}. {texts[place]}" for letter, place in zip(LETTERS, places, strict=False)]
        return prompt.replace("{choices}", "\n".join(lines)), system, LETTERS[places.index(known.index(answer))]

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return judge_letters([p.answer for p in problems], responses, require_think_end=self.require_think_end)


def option_texts(choices: Mapping[str, Any]) -> list[str] | None:
    """Returns the options' texts, given as {option: cell}: one cell with a list, or several with one option each.

    None when an option is missing.
    """
    (name, cell), *others = choices.items()
    texts = [plain_text(value, name) for name, value in choices.items()] if others else texts_of(cell, name)
    stripped = [text.strip() for text in texts if text is not None and text.strip()]
    return stripped if stripped and len(stripped) == len(texts) else None


def texts_of(cell: Any, option: str) -> list[str | None]:
    if isinstance(cell, str):
        cell = structure(cell) or cell
    if cell is not None and not isinstance(cell, list):
        raise CellError(option, f"{described(cell)}, not a list", likely_field(cell))
    return [plain_text(part, option) for part in cell or []]
