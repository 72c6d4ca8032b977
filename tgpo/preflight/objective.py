"""Checks that the objective, the engines and the demonstrations are compatible."""

from __future__ import annotations

from pathlib import Path

from tgpo.config.sizes import max_demonstrations, objective_name, training_problems
from tgpo.errors import RequestError, program
from tgpo.models.loading import load_config
from tgpo.preflight.look import Inspection
from tgpo.preflight.tokens import student_ends
from tgpo.runtime.torchrun import process_count
from tgpo.types.problem import TEACHER_NEEDS, Need

LEAST_SHOWN = 0.5  # fraction of the problems that the given demonstrations must cover


def check_objective(look: Inspection) -> str:
    request, options, objective = look.request, look.options, look.request.objective
    if objective.needs & TEACHER_NEEDS and not request.teachers:
        raise RequestError(
            f"objective={objective_name(request)} needs a teacher and teacher=none was given; choose a teacher or "
            "objective=grpo"
        )
    if objective.needs_groups and options.rollout.group_size < 2:
        raise RequestError(
            f"rollout.group_size={options.rollout.group_size}: objective={objective_name(request)} compares the "
            "rollouts of a prompt with one another; use 2 or more"
        )
    if objective.needs_groups and objective.mix(0, options.rollout.group_size).student < 1:
        raise RequestError(
            f"objective.demonstrations fill a group of {options.rollout.group_size}: with no rollout beside them they "
            "teach nothing; use fewer, or raise rollout.group_size"
        )
    check_present_student(look)
    needs = ", ".join(sorted(need.value for need in objective.needs)) or "nothing but the rollouts"
    return f"{objective_name(request)}: {options.student.name} and {options.teacher.name}; needs {needs}"


def check_present_student(look: Inspection) -> None:
    """Raises RequestError where the student as it stands (`teacher.weights=live`) could change while a batch is scored.

    That is where whole distributions are asked for, for each micro-batch because they are too large to keep for the
    batch, and the batch makes several updates.
    """
    request, train, rollout = look.request, look.options.train, look.options.rollout
    live = any(teacher.options.weights == "live" for teacher in request.teachers)
    live = live and Need.TEACHER_FULL in request.objective.needs
    if not live or train.updates_per_batch == 1:
        return
    config = load_config(look.options.student.path, look.options.student.revision, look.options.student.config)
    most = rollout.prompts_per_batch * rollout.group_size * rollout.max_response_length * config.hidden_size
    if process_count() > 1 or most > train.max_logits:
        raise RequestError(
            f"teacher.weights=live with objective={objective_name(request)} and train.updates_per_batch="
            f"{train.updates_per_batch}: the teacher would change between the updates of a batch; use one update, "
            "objective.topk, or teacher.weights=ema"
        )


def check_backends(look: Inspection) -> str:
    """Checks that the engines of rollouts and teachers are installed, and that a teacher's gives what the objective
    needs."""
    from tgpo.models.vllm import check_installed
    from tgpo.teachers.base import PROMPT_LOGPROBS

    request, options = look.request, look.options
    backends = {role: teacher.options.backend for role, teacher in look.teachers.items()}
    engines = [
        ("rollout=vllm", options.rollout.backend),
        *((f"{role}.backend=vllm", b) for role, b in backends.items()),
    ]
    if vllm_keys := [key for key, backend in engines if backend == "vllm"]:
        check_installed(vllm_keys[0])
    if vllm_keys and process_count() > 1 and options.vllm.tensor_parallel_size > 1:
        raise RequestError(
            f"vllm.tensor_parallel_size={options.vllm.tensor_parallel_size}: under torchrun each process has one GPU "
            "and an engine of its own; use 1, or teacher.backend=server"
        )
    unsupported = sorted(request.objective.needs & TEACHER_NEEDS - PROMPT_LOGPROBS)
    for role, backend in backends.items():
        if unsupported and backend != "hf":
            raise RequestError(
                f"objective={objective_name(request)} asks for {unsupported[0]}, and prompt log-probabilities are all "
                f"that {role}.backend={backend} gives; use {role}.backend=hf"
            )
    return f"rollouts {options.rollout.backend}, teacher {', '.join(backends.values()) or 'none'}"


def check_demonstrations(look: Inspection) -> str | None:
    """Checks that the demonstrations which the objective needs are given, or that a teacher in this process can write
    them."""
    options, name = look.options, objective_name(look.request)
    if Need.DEMONSTRATION not in look.request.objective.needs:
        return None
    if options.demonstrations.path is not None:
        return f"given: {options.demonstrations.path}"
    if not look.teachers:
        raise RequestError(
            f"objective={name} learns from demonstrations and teacher=none was given; choose a teacher to write "
            "them, or give demonstrations.path"
        )
    if any(teacher.options.backend == "server" for teacher in look.teachers.values()):
        raise RequestError(
            f"objective={name} learns from demonstrations, which a teacher behind a server does not write; give "
            "demonstrations.path"
        )
    if (wanted := max_demonstrations(look.request)) > 1 and options.demonstrations.temperature == 0:
        raise RequestError(
            f"demonstrations.temperature=0: objective={name} asks for {wanted} of a problem, which would all be the "
            "same; give a temperature"
        )
    return "written by the teacher before the first step"


def check_written_demonstrations(look: Inspection) -> str | None:
    """Checks that the student has all tokens in which the teacher writes demonstrations, and ends with the same one."""
    options = look.options
    if Need.DEMONSTRATION not in look.request.objective.needs or options.demonstrations.path is not None:
        return None
    for role, teacher in look.teachers.items():
        if teacher.options.local_path is None:
            continue
        tokenizer = look.tokenizer_of(role)
        has_extra = teacher.options.extra_tokens == "drop" and len(tokenizer) > len(look.tokenizer)
        if has_extra or tokenizer.eos_token_id not in student_ends(look):
            what = (
                "tokens that the student has not" if has_extra else "a token that does not end the student's responses"
            )
            raise RequestError(
                f"objective={objective_name(look.request)} learns from demonstrations, and {teacher.options.path} "
                f"would write them with {what}; give demonstrations.path, or choose a teacher with the student's "
                "tokenizer"
            )
    return "in the student's tokens"


def check_given_demonstrations(look: Inspection) -> str | None:
    """Checks that those at `demonstrations.path` are for these problems and this vocabulary, and fit the cap."""
    options = look.options
    if Need.DEMONSTRATION not in look.request.objective.needs or options.demonstrations.path is None:
        return None

    from tgpo.tasks.demonstrations import read

    where, given = f"demonstrations.path={options.demonstrations.path}", read(Path(options.demonstrations.path))
    problem, longest = given.longest
    cap = options.rollout.max_response_length
    if longest > cap:
        raise RequestError(
            f"{where}: the one of {problem} has {longest} tokens and rollout.max_response_length is {cap}; raise it, "
            "or make them again"
        )
    if given.largest_id >= len(look.tokenizer):
        raise RequestError(
            f"{where}: token {given.largest_id} is beyond the student's {len(look.tokenizer)}; make them again"
        )
    if other_ends := sorted(given.last_ids - set(student_ends(look))):
        raise RequestError(
            f"{where}: some end with token {other_ends[0]}, which does not end a response of the student's; make them "
            "again"
        )
    problems = training_problems(look.request)
    covered = sum(bool(given.of(problem)) for problem in problems)
    if covered < LEAST_SHOWN * len(problems):
        raise RequestError(
            f"{where}: {covered} of the first {len(problems)} problems have one; they are of another task or seed, or "
            f"half written: {program('demonstrations')} seed={options.seed} demonstrations.path=..."
        )
    return f"{covered} of the first {len(problems)} problems have one, the longest of {longest} tokens"
