"""The parts of a run, built as the command builds them, small enough for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.compose import composed
from tgpo.config.check import check
from tgpo.config.request import Request
from tgpo.models.loading import load_tokenizer
from tgpo.runs.directory import RunDirectory
from tgpo.runtime.interrupt import Interrupt
from tgpo.tasks.demonstrations import Demonstrations
from tgpo.tiny.solutions import teacher_style
from tgpo.training import checkpoint
from tgpo.training.components import build_components
from tgpo.training.loop import Components, open_writer, train_loop
from tgpo.training.trainer import Trainer
from tgpo.types.problem import Need

SMALL = ["rollout.prompts_per_batch=4", "rollout.group_size=4", "rollout.max_response_length=40", "output_dir=unused"]


def small(*overrides: str) -> Components:
    request = check(composed(*SMALL, *overrides))
    asked = Need.DEMONSTRATION in request.objective.needs
    return build_components(request, None, textbook(request) if asked else None)


def state_of(parts: Components, **more: Any) -> checkpoint.State:
    trainer = parts.trainer
    return checkpoint.State(trainer.policy, trainer.optimizer, trainer.objective, parts.tokenizer, **more)


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.parameters])


def driven(parts: Components, folder: Path) -> Iterator[int]:
    """The run's own rounds into a folder of a run; yields each step once it is on disk."""
    files = RunDirectory(folder)
    if not parts.done:
        files.create(parts.request.resolved, {})
    with Interrupt() as interrupt, open_writer(parts.request, files, parts.done) as writer:
        yield from train_loop(parts, files, interrupt, writer)


def textbook(request: Request) -> Demonstrations:
    """The text the teacher was trained on, four times each, for the problems of the first three steps."""
    tokenizer, by_problem = load_tokenizer("tiny:teacher"), {}
    for step in (1, 2, 3):
        for problem in request.task.train_problems(0, step, 4):
            ids = (*tokenizer(teacher_style(problem.prompt)).input_ids, tokenizer.eos_token_id)
            if len(ids) <= request.options.rollout.max_response_length:
                by_problem[problem.id, problem.prompt] = [ids] * 4
    return Demonstrations(by_problem)
