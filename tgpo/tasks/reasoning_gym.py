"""Any generator of reasoning-gym as a task. Held-out and training problems have no prompt in common."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import cached_property
from itertools import islice
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from tgpo.errors import RequestError, did_you_mean
from tgpo.tasks.base import Rewards
from tgpo.tasks.rows import RowFilter
from tgpo.tasks.verifier import verify_responses
from tgpo.types.problem import Problem

BUCKETS = 10
PAGE = 1_000  # entries of one generator instance; each page has its own seed
MOST_PAGES_WITHOUT_A_PROBLEM = 20


@dataclass(frozen=True, config=ConfigDict(extra="forbid", ignored_types=(cached_property,)))
class ReasoningGym:
    """`dataset` names the generator, `options` configure it, and `question` is the key, of an entry or of its metadata,
    that holds the prompt.

    A prompt is held out if its hash falls into one bucket of ten; training skips these prompts.
    Source: reasoning-gym, arXiv 2505.24760.
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    question: str = "question"
    strip_spaces: bool = False
    eval_size: Annotated[int, Field(ge=1)] = 192
    eval_seed: Annotated[int, Field(ge=0)] = 0
    require_boxed: bool = True
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        from reasoning_gym.factory import DATASETS

        if name not in DATASETS:
            raise ValueError(f"reasoning-gym has no generator of that name{did_you_mean(name, DATASETS)}")
        return name

    @model_validator(mode="after")
    def _makes_problems(self) -> ReasoningGym:
        """Generates one problem, so that a wrong option or key is reported before anything loads."""
        import reasoning_gym

        try:
            entry = reasoning_gym.create_dataset(self.dataset, seed=0, size=1, **self.options)[0]
        except (TypeError, ValueError, AssertionError) as error:
            reason = str(error).removeprefix(f"{type(error).__name__}: ")
            raise ValueError(f"options={self.options} do not suit {self.dataset}: {reason}") from error
        keys = [*entry, *entry["metadata"]]
        if self.question not in keys:
            raise ValueError(f"question={self.question} is not in its entries{did_you_mean(self.question, keys)}")
        return self

    @property
    def name(self) -> str:
        return self.dataset

    def train_problems(self, seed: int, step: int, count: int) -> list[Problem]:
        first_page = (seed * 1_000_003 + step) * MOST_PAGES_WITHOUT_A_PROBLEM + 1
        return self._exactly(count, list(islice(self._problems(first_page, count * 2, held_out=False), count)))

    def eval_problems(self) -> list[Problem]:
        return self._eval_problems

    @cached_property
    def _eval_problems(self) -> list[Problem]:
        chosen: dict[str, Problem] = {}
        for problem in self._problems(-1 - self.eval_seed, PAGE, held_out=True):
            chosen.setdefault(problem.prompt, problem)
            if len(chosen) == self.eval_size:
                break
        return self._exactly(self.eval_size, list(chosen.values()))

    def _exactly(self, count: int, problems: list[Problem]) -> list[Problem]:
        if len(problems) < count:
            raise RequestError(f"task.dataset={self.dataset}: {len(problems)} different problems found, {count} wanted")
        return problems

    def rewards(self, problems: Sequence[Problem], responses: Sequence[str]) -> Rewards:
        return verify_responses([p.answer for p in problems], responses, require_boxed=self.require_boxed)

    def _problems(self, first_page: int, page: int, *, held_out: bool) -> Iterator[Problem]:
        """Yields problems of one side of the split, page after page of the generator."""
        import reasoning_gym

        usable = RowFilter(f"task.dataset={self.dataset}", self.max_bad_fraction)
        for number in range(MOST_PAGES_WITHOUT_A_PROBLEM):
            seed = zlib.crc32(f"{self.dataset}/{first_page}/{number}".encode())
            for entry in reasoning_gym.create_dataset(self.dataset, seed=seed, size=page, **self.options):
                prompt, name = self._prompt(entry), f"{self.dataset}/{seed}/{entry['metadata']['source_index']}"
                if not usable.keep(name, prompt, entry["answer"]):
                    usable.check()  # after each bad entry, as a generator has no end to wait for
                    continue
                if (zlib.crc32(prompt.encode()) % BUCKETS == 0) == held_out:
                    yield Problem(name, prompt, str(entry["answer"]), self.dataset)

    def _prompt(self, entry: dict[str, Any]) -> str:
        value = entry[self.question] if self.question in entry else entry["metadata"][self.question]
        text = "" if value is None else str(value)
        return text.replace(" ", "") if self.strip_spaces else text
