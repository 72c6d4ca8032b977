"""Checks of problems, prompts and responses: there are some, and they fit the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tgpo.config.sizes import (
    longest_sequence,
    max_teacher_topk,
    scored_budget,
    sequence_budgets,
    training_problems,
)
from tgpo.errors import RequestError
from tgpo.preflight.look import Inspection, Role
from tgpo.rollout.base import render, template_fix
from tgpo.types.problem import Problem

SHOWN = 60  # characters that are quoted of a problem
FIRST = 16  # prompts of each set that are looked at; they differ in what the rows hold, and that is seen early


def check_problems(look: Inspection) -> str:
    """Returns the first training problem, and the length of the longest prompt in the run."""
    from tgpo.config.eval_sets import all_eval_problems

    task = look.request.task
    training, held_out = training_problems(look.request), all_eval_problems(look.request)
    if not training or not held_out:
        raise RequestError(f"task={task.name}: no {'training' if not training else 'held-out'} problems")
    longest = max(each.prompt for each in sequence_budgets(look.request, look.tokenizer))
    first = " ".join(training[0].prompt.split())
    quoted = first if len(first) <= SHOWN else first[: SHOWN - 3] + "..."
    return (
        f"{task.name}: {len(held_out)} held out; the first to train on is {quoted!r}, answer {training[0].answer!r}; "
        f"the longest prompt has {longest} tokens"
    )


def check_training_prompts(look: Inspection) -> str:
    """Checks that the first training prompts hold what the run means to say; returns the first one as rendered."""
    training = training_problems(look.request)[:FIRST]
    return f"the first: {check_rendered(look.tokenizer, training)!r}"


def check_held_out_prompts(look: Inspection) -> None:
    """Checks the same of the first prompts of each evaluation set, whose system prompts can differ."""
    from tgpo.config.eval_sets import all_eval_problems, eval_sets

    all_eval_problems(look.request)  # names every dataset that is missing, not only the first
    for each in eval_sets(look.request):
        check_rendered(look.tokenizer, each.eval_problems()[:FIRST])


def check_rendered(tokenizer: Any, problems: Sequence[Problem], option: str = "student.chat_template") -> str:
    """Raises RequestError if the chat template leaves a question or a system prompt out; white space may change."""
    prompts = render(tokenizer, problems, tokenize=False)
    for problem, prompt in zip(problems, prompts, strict=True):
        for what, text in (("question", problem.prompt), ("system prompt", problem.system or "")):
            if "".join(text.split()) not in "".join(prompt.split()):
                fix = template_fix(what == "system prompt", option)
                raise RequestError(f"the chat template leaves the {what} of {problem.id} out of the prompt; {fix}")
    return prompts[0]


def check_widths(look: Inspection) -> str:
    """Checks that the heads have a column for every token; padding columns beyond them enter no softmax."""
    options, tokens = look.options, len(look.tokenizer)
    if options.metrics.topk > tokens:
        raise RequestError(f"metrics.topk={options.metrics.topk}: the vocabulary has {tokens} tokens")
    for role, config in look.configs.items():
        if config.vocab_size < tokens:
            raise RequestError(
                f"{role}.path={look.model(role).path}: its head has {config.vocab_size} columns for {tokens} tokens of "
                "the tokenizer"
            )
    columns = ", ".join(f"{role} {config.vocab_size:,}" for role, config in look.configs.items())
    return f"{tokens:,} tokens; columns: {columns}"


def check_lengths(look: Inspection) -> str:
    """Checks that prompt and response fit the models, on all held-out and training problems of the run."""
    options = look.options
    budgets, longest = (
        sequence_budgets(look.request, look.tokenizer),
        longest_sequence(look.request, look.tokenizer),
    )
    if options.vllm.max_model_len is not None and options.vllm.max_model_len <= longest:
        raise RequestError(
            f"vllm.max_model_len={options.vllm.max_model_len}: the run needs {longest + 1}; or leave it null"
        )
    for role, config in look.configs.items():
        room, teacher = getattr(config, "max_position_embeddings", None), look.teachers.get(role)
        engine_adds = int(teacher is not None and teacher.options.backend == "vllm")  # it generates one token more
        for each in budgets if teacher is None else [scored_budget(look.request, teacher, look.tokenizer)]:
            if room is not None and each.longest + engine_adds > room:
                fits = each.fitting(room - engine_adds)
                fix = f"use at most {fits}" if fits > 0 else "leave that problem out"
                raise RequestError(
                    f"{each.capped_by}={each.cap} and the prompt of {each.problem}, {each.prompt} tokens, exceed the "
                    f"{room} positions of {role}.path={look.model(role).path}; {fix}"
                )
    largest = max(budgets, key=lambda each: each.longest)
    return f"{largest.prompt} of prompt and {largest.cap} of response"


def check_server(look: Inspection, role: Role) -> str | None:
    """Checks that each of a teacher's servers is up and answers queries like those of the run."""
    teacher = look.teachers[role]
    if teacher.options.backend != "server":
        return None
    assert teacher.options.path is not None

    from tgpo.teachers.server import check_servers

    tokens, servers = len(look.tokenizer), look.request.servers_of(teacher)
    topk, longest = max_teacher_topk(look.request, tokens), scored_budget(look.request, teacher, look.tokenizer).longest
    shared = tokens if teacher.options.extra_tokens == "drop" else None
    check_servers(teacher.options.path, servers, look.tokenizer, longest, topk, shared)
    return f"{len(servers.urls)} answer as {teacher.options.path}"
