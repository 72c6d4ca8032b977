"""Everything that can be known to be wrong before a model loads. Each check raises RequestError with the mend."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tgpo.config import Request, RunOptions, first_line
from tgpo.errors import RequestError
from tgpo.models import load_tokenizer, resolve
from tgpo.types import TEACHER_NEEDS, Need, Problem

LEAST_SHOWN = 0.5  # of the problems, that given demonstrations must know
LOOKED_AHEAD = 4  # steps whose training problems are looked at


def preflight(request: Request) -> None:
    """Runs every check, the cheap ones first."""
    check_objective(request)
    check_backends(request)
    check_demonstrations(request)
    check_models(request)
    check_given_demonstrations(request)


def check_models(request: Request) -> None:
    options = request.options
    check_device(options.train.device)
    local_teacher = None if options.teacher.backend == "server" else options.teacher.path
    for role, path in {"student": options.student.path, "teacher": local_teacher}.items():
        if path is not None:
            check_files(f"{role}.path", path)
    tokenizer = load_tokenizer(options.student.path)
    if options.teacher.path is not None and options.teacher.backend == "server":
        from tgpo.teachers.server import check_servers

        topk = min(max(request.objective.teacher_topk, options.metrics.topk), len(tokenizer))
        check_servers(options.teacher.path, options.server, tokenizer, longest_sequence(request, tokenizer), topk)
    elif options.teacher.path is not None:
        check_tokenizers(options, tokenizer)
    check_lengths(request, tokenizer)


def check_objective(request: Request) -> None:
    options, objective = request.options, request.objective
    if objective.needs & TEACHER_NEEDS and options.teacher.path is None:
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


def check_backends(request: Request) -> None:
    """What runs the rollouts and the teacher is installed, and the teacher's can answer what the objective asks."""
    from tgpo.vllm import check_installed

    options = request.options
    if options.rollout.backend == "vllm":
        check_installed("rollout=vllm")
    if options.teacher.path is None or options.teacher.backend == "hf":
        return
    if options.teacher.backend == "vllm":
        check_installed("teacher.backend=vllm")

    from tgpo.teachers.base import PROMPT_LOGPROBS

    if beyond := sorted(request.objective.needs & TEACHER_NEEDS - PROMPT_LOGPROBS):
        raise RequestError(
            f"objective={objective_name(request)} asks for {beyond[0]}, and prompt log-probabilities are all that "
            f"teacher.backend={options.teacher.backend} gives; use teacher.backend=hf"
        )


def check_demonstrations(request: Request) -> None:
    """Where a run is to have them written: there is a teacher in this process to do it."""
    options, name = request.options, objective_name(request)
    if Need.DEMONSTRATION not in request.objective.needs or options.demonstrations.path is not None:
        return
    if options.teacher.path is None:
        raise RequestError(
            f"objective={name} learns from demonstrations and teacher=none was given; choose a teacher to write "
            "them, or give demonstrations.path"
        )
    if options.teacher.backend == "server":
        raise RequestError(
            f"objective={name} learns from demonstrations, which a teacher behind a server does not write; give "
            "demonstrations.path"
        )


def check_given_demonstrations(request: Request) -> None:
    """Those at `demonstrations.path` are for these problems, in this vocabulary, and fit the cap."""
    options = request.options
    if Need.DEMONSTRATION not in request.objective.needs or options.demonstrations.path is None:
        return

    from tgpo.tasks.demonstrations import read

    tokenizer = load_tokenizer(options.student.path)
    where, shown = f"demonstrations.path={options.demonstrations.path}", read(Path(options.demonstrations.path))
    problem, longest = shown.longest
    cap = options.rollout.max_response_length
    if longest > cap:
        raise RequestError(
            f"{where}: the one of {problem} has {longest} tokens and rollout.max_response_length is {cap}; raise it, "
            "or make them anew"
        )
    if shown.largest_id >= len(tokenizer):
        raise RequestError(
            f"{where}: token {shown.largest_id} is beyond the student's {len(tokenizer)}; make them anew"
        )
    met = problems_met(request)
    known = sum(bool(shown.of(problem)) for problem in met)
    if known < LEAST_SHOWN * len(met):
        raise RequestError(
            f"{where}: {known} of the first {len(met)} problems have one; they are of another task or seed, or half "
            f"written: python -m tgpo.tasks.demonstrations seed={options.seed} demonstrations.path=..."
        )


def problems_met(request: Request) -> list[Problem]:
    """The training problems of the first steps."""
    options = request.options
    steps = range(1, min(options.train.steps, LOOKED_AHEAD) + 1)
    return [p for k in steps for p in request.task.train_problems(options.seed, k, options.rollout.prompts_per_batch)]


def objective_name(request: Request) -> str:
    return request.options.choices.get("objective") or request.resolved["objective"]["_target_"].rsplit(".", 1)[-1]


def check_device(device: str) -> None:
    import torch

    try:
        wanted = torch.device("cpu" if device == "auto" else device)
    except RuntimeError:
        raise RequestError(f"train.device={device}: not a device; use auto, cpu, cuda or cuda:N") from None
    if wanted.type not in ("cpu", "cuda"):
        raise RequestError(f"train.device={device}: only cpu and cuda are supported")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise RequestError(
            f"train.device={device}: this machine has {torch.cuda.device_count()} CUDA devices; use train.device=cpu"
        )


def check_files(key: str, path: str) -> None:
    """The model is on this machine, and its weights are safetensors. Nothing is ever downloaded by a run."""
    folder = Path(resolve(path))
    if not folder.is_dir():
        cached = cached_snapshot(path)
        if cached is None:
            raise RequestError(
                f"{key}={path}: no such folder, and no such model in the local cache; fetch it with: hf download {path}"
            )
        folder = cached
    if not (folder / "config.json").is_file():
        raise RequestError(f"{key}={path}: no config.json there; give the folder that from_pretrained would load")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise RequestError(f"{key}={path}: no tokenizer there; save the tokenizer into the same folder")
    if "auto_map" in json.loads((folder / "config.json").read_text()):
        raise RequestError(f"{key}={path}: this model brings code of its own to run, which is refused")
    index = folder / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
        raise RequestError(f"{key}={path}: {len(missing)} weight files are missing, {missing[0]} first; fetch it again")
    if not any(folder.glob("*.safetensors")):
        raise RequestError(f"{key}={path}: no *.safetensors there; other weight formats can run code and are refused")


def cached_snapshot(path: str) -> Path | None:
    """The hub model's folder in the local cache, if its configuration is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(path, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def check_tokenizers(options: RunOptions, student: Any) -> None:
    """Student and teacher read the same ids as the same strings, and end a response with the same one."""
    assert options.teacher.path is not None
    teacher = load_tokenizer(options.teacher.path)
    for index, (ours, theirs) in enumerate(zip_longest(id_strings(student), id_strings(teacher))):
        if ours != theirs:
            raise RequestError(
                f"student and teacher have different tokenizers: id {index} is {ours!r} for {options.student.path} and "
                f"{theirs!r} for {options.teacher.path}; choose a teacher of the student's family"
            )
    if student.eos_token_id != teacher.eos_token_id:
        raise RequestError(
            f"student and teacher end a response differently: {student.eos_token!r} and {teacher.eos_token!r}; the "
            "teacher would push the student never to stop"
        )


def id_strings(tokenizer: Any) -> list[str | None]:
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    return [by_id.get(index) for index in range(max(by_id) + 1)]


def check_lengths(request: Request, tokenizer: Any) -> None:
    """Prompt and response fit the model, measured on the held-out problems; its vocabulary holds the tokenizer's."""
    from transformers import AutoConfig

    options = request.options
    if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
        raise RequestError(f"student.path={options.student.path}: its tokenizer needs an EOS token and a chat template")
    if options.metrics.topk > len(tokenizer):
        raise RequestError(f"metrics.topk={options.metrics.topk}: the vocabulary has {len(tokenizer)} tokens")
    cap, longest = longest_response(request), longest_sequence(request, tokenizer)
    if options.vllm.max_model_len is not None and options.vllm.max_model_len <= longest:
        raise RequestError(
            f"vllm.max_model_len={options.vllm.max_model_len}: the run needs {longest + 1}; or leave it null"
        )
    local_teacher = None if options.teacher.backend == "server" else options.teacher.path
    for key, path in (("student.path", options.student.path), ("teacher.path", local_teacher)):
        if path is None:
            continue
        try:
            config = AutoConfig.from_pretrained(resolve(path), trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError) as error:
            raise RequestError(f"{key}={path}: {first_line(error)}") from error
        room = getattr(config, "max_position_embeddings", None)
        scored = path == local_teacher and options.teacher.backend == "vllm"  # vLLM writes a token after what it scores
        if room is not None and longest + scored > room:
            raise RequestError(
                f"rollout.max_response_length={cap} and prompts of {longest - cap} tokens exceed the {room} positions "
                f"of {key}={path}; use at most {room - longest + cap}"
            )
        if config.vocab_size < len(tokenizer):
            raise RequestError(
                f"{key}={path}: its head has {config.vocab_size} columns for {len(tokenizer)} tokens of the tokenizer"
            )


def longest_sequence(request: Request, tokenizer: Any) -> int:
    """Tokens of the longest prompt, evaluated or of the first steps, and the longest response there may be."""
    from tgpo.evaluation.suite import asked
    from tgpo.rollout.base import encode_prompts

    prompt = max(map(len, encode_prompts(tokenizer, [*asked(request), *problems_met(request)])))
    return prompt + longest_response(request)


def longest_response(request: Request) -> int:
    """The cap on a response, of rollouts and of all that is evaluated."""
    from tgpo.evaluation.suite import exams

    return max(request.options.rollout.max_response_length, *(exam.max_response_length for exam in exams(request)))
