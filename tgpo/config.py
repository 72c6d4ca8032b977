"""The configuration, checked: every option typed and bounded before anything heavy is imported."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, fields
from functools import cache, reduce
from importlib.util import find_spec
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tgpo.errors import RequestError, did_you_mean, without_credentials

KEY_ADVICE = "put the server's key into the environment variable that server.key_variable names"
MOST_THREADS = 1_024  # some libraries crash where a system has no more to give
LONGEST_NAME = 160  # bytes of a folder's name that is made of overrides; file systems take 255

Beta = Annotated[float, Field(ge=0, lt=1)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes it for 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in (bool, bool | None):
            raise ValueError("input should not be true or false")
        return value


class StudentOptions(Options):
    name: str
    path: str
    revision: str | None
    config: dict[str, Any]
    chat_template: str | None
    end_tokens: list[str]


class LoraOptions(Options):
    rank: int = Field(ge=0)
    alpha: int = Field(ge=1)
    targets: Literal["all-linear"] | list[str]


class TeacherOptions(Options):
    name: str
    path: str | None
    backend: Literal["hf", "vllm", "server"]
    revision: str | None
    config: dict[str, Any]
    extra_tokens: Literal["refuse", "drop"]
    other_eos: Literal["refuse", "ignore"]

    @property
    def local_path(self) -> str | None:
        """None where there is no teacher, or where it is behind a server."""
        return None if self.backend == "server" else self.path


class VLLMOptions(Options):
    rollout_memory: float = Field(gt=0, lt=1)
    teacher_memory: float = Field(gt=0, lt=1)
    tensor_parallel_size: int = Field(ge=1)
    max_model_len: int | None = Field(ge=1)
    enforce_eager: bool | None
    sleep: bool
    cpu_cache_gib: int = Field(ge=1)


class ServerOptions(Options):
    urls: list[str]
    concurrency: int = Field(ge=1)
    timeout: float = Field(gt=0)
    patience: float = Field(ge=0)
    key_variable: str = Field(pattern="^[A-Z_][A-Z0-9_]*$")  # the key itself, given by mistake, is not of this form

    @field_validator("urls")
    @classmethod
    def _parse(cls, urls: list[str]) -> list[str]:
        for url in urls:
            try:
                parts = urlsplit(url)
                bare = "@" not in parts.netloc and not parts.query and not parts.fragment
                fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
            except ValueError:
                fine = bare = False
            if "@" in url or (fine and not bare):
                raise PydanticCustomError("secret", f"an address without user name, password or query; {KEY_ADVICE}")
            if not fine:
                raise ValueError("each is http://HOST:PORT")
        return [url.rstrip("/").removesuffix("/v1") for url in urls]


class DemonstrationOptions(Options):
    path: str | None
    temperature: float = Field(ge=0)
    attempts: int = Field(ge=1)


class RolloutOptions(Options):
    backend: Literal["hf", "vllm"]
    prompts_per_batch: int = Field(ge=1)
    group_size: int = Field(ge=1)
    temperature: float = Field(gt=0)
    max_response_length: int = Field(ge=1)
    old_logprobs: Literal["sampler", "recompute"]
    importance_cap: float | None = Field(gt=0)

    @model_validator(mode="after")
    def _cap_has_two_policies(self) -> RolloutOptions:
        if self.importance_cap is not None and self.old_logprobs != "recompute":
            raise ValueError(
                "importance_cap weighs the trainer's policy against the sampler's; set old_logprobs=recompute"
            )
        if self.importance_cap is not None and self.temperature != 1:
            raise ValueError("importance_cap needs temperature=1: the sampler's log-probabilities are those")
        return self


class TrainOptions(Options):
    steps: int = Field(ge=1)
    lr: float = Field(gt=0, le=1)  # AdamW moves a weight by about this much a step; so it never leaves float32
    warmup_steps: int = Field(ge=0)
    lr_schedule: Literal["constant", "linear", "cosine"]
    betas: tuple[Beta, Beta]
    weight_decay: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(gt=0)
    updates_per_batch: int = Field(ge=1)
    max_tokens_per_micro_batch: int = Field(ge=1)
    max_logits: int = Field(ge=1)
    entropy_bonus: float = Field(ge=0)
    gradient_checkpointing: bool
    checkpoint_every: int = Field(ge=1)
    keep_checkpoints: int = Field(ge=1)
    max_bad_steps: int = Field(ge=0)
    dtype: Literal["float32", "bfloat16", "float64"]
    device: str
    threads: int | None = Field(ge=1, le=MOST_THREADS)


class EvalOptions(Options):
    every: int = Field(ge=1)
    held_out: bool
    samples_per_problem: int = Field(ge=1)
    temperature: float = Field(ge=0)
    max_response_length: int = Field(ge=1)
    pass_at: list[Annotated[int, Field(ge=1)]]
    rows_at_once: int = Field(ge=1)
    prompt_template: str
    choices_template: str
    system_prompt: str | None
    require_boxed: bool
    require_think_end: bool
    benchmarks: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _evaluates_something(self) -> EvalOptions:
        if not self.held_out and not self.benchmarks:
            raise ValueError("nothing to evaluate on; set held_out=true or choose eval=math")
        return self


class MetricsOptions(Options):
    gradient_variance_every: int = Field(ge=0)
    gradient_variance_method: Literal["exact", "sketch"]
    sketch_size: int = Field(ge=1)
    divergence_every: int = Field(ge=0)
    topk: int = Field(ge=1)
    rollout_samples: int = Field(ge=0)
    rollout_samples_every: int = Field(ge=1)


class LoggerOptions(Options):
    backend: Literal["none", "wandb", "tensorboard"]
    project: str = "tgpo"
    entity: str | None = None

    @field_validator("backend")
    @classmethod
    def _installed(cls, backend: str) -> str:
        if backend == "tensorboard" and find_spec("tensorboard") is None:
            raise ValueError("it is not installed; pip install 'tensorboard>=2.20'")
        return backend


class RunOptions(Options):
    """The whole configuration. `objective` and `task` check themselves when they are built."""

    name: str
    seed: int = Field(ge=0, lt=2**63)  # what torch takes
    resume: str | None
    resume_with_changes: bool = False  # runs of before there was such an option are resumed too
    output_dir: str
    preflight_only: bool
    sweep_dir: str | None = None
    rerun: Literal["failed"] | None = None
    tuning: dict[str, Any]
    objective: dict[str, Any]
    task: dict[str, Any]
    student: StudentOptions
    lora: LoraOptions
    teacher: TeacherOptions
    demonstrations: DemonstrationOptions
    rollout: RolloutOptions
    train: TrainOptions
    eval: EvalOptions
    vllm: VLLMOptions
    server: ServerOptions
    metrics: MetricsOptions
    logger: LoggerOptions
    choices: dict[str, str | None] = Field(default_factory=dict)
    overrides: list[str] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.+=-]*", name):
            raise ValueError("a folder is called so: letters, digits and . _ + = - only")
        return name

    @model_validator(mode="after")
    def _updates_have_groups(self) -> RunOptions:
        prompts, updates = self.rollout.prompts_per_batch, self.train.updates_per_batch
        if prompts % updates:
            raise ValueError(f"rollout.prompts_per_batch ({prompts}) does not divide into {updates} equal updates")
        return self

    @model_validator(mode="after")
    def _vllm_has_the_type(self) -> RunOptions:
        if self.train.dtype == "float64" and "vllm" in (self.rollout.backend, self.teacher.backend):
            raise ValueError("train.dtype=float64 is not a type vLLM knows; use rollout=hf and teacher.backend=hf")
        return self


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request: the options, and the two parts that are built straight from the configuration.

    One is equal to itself alone, so that what is measured of it can be kept beside it.
    """

    options: RunOptions
    objective: Any
    task: Any
    resolved: dict[str, Any]
    benchmarks: tuple[Any, ...] = ()


def check(config: DictConfig | dict[str, Any]) -> Request:
    """Types, ranges and names; raises RequestError with one line for the first thing that is wrong."""
    resolved = to_container(config) if isinstance(config, DictConfig) else dict(config)
    try:
        options = RunOptions.model_validate(resolved)
    except ValidationError as error:
        raise RequestError(explain(error, option_names(RunOptions), "")) from error
    objective, task = build(resolved, "objective"), build(resolved, "task")
    # what a null stands for is written out: the record of a run says what ran
    resolved["objective"] = {"_target_": resolved["objective"]["_target_"], **settings(objective)}
    benchmarks = tuple(build(resolved, f"eval.benchmarks.{name}") for name in options.eval.benchmarks)
    return Request(options, objective, task, resolved, benchmarks)


def to_container(config: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"the configuration does not resolve: {first_line(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def build(resolved: dict[str, Any], section: str) -> Any:
    """The object a (dotted) section's `_target_` names, its mistakes told in the terms of the command line."""
    node = reduce(getitem, section.split("."), resolved)
    check_target(node, section)
    try:
        return instantiate(node, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            names = [f"{section}.{field.name}" for field in fields(get_class(node["_target_"]))]
            raise RequestError(explain(cause, names, f"{section}.")) from error
        raise RequestError(f"{section}: {first_line(cause)}") from error


def check_target(node: Any, section: str) -> None:
    """A class of this package and no other: a configuration that came with a run could call anything."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise RequestError(f"{section}={node}: it is a section; choose one by name, and give its options one by one")
    if any(isinstance(value, dict | list) and "_target_" in str(value) for value in node.values()):
        raise RequestError(f"{section}: an option of it names something to call (_target_), which is refused")
    target = str(node["_target_"])
    try:
        ours = target.startswith("tgpo.") and get_class(target).__module__.startswith("tgpo.")
    except Exception:  # noqa: BLE001  whatever there is in the way of importing it
        ours = False
    if not ours:
        raise RequestError(f"{section}._target_={target}: no class of tgpo; a new one is a file below tgpo/")


def settings(objective: Any) -> dict[str, Any]:
    """The objective's options as plain values, every one of them."""
    values = TypeAdapter(type(objective)).dump_python(objective, mode="json")
    return {f.name: values[f.name] for f in fields(objective) if f.init}


def explain(error: ValidationError, names: list[str], prefix: str) -> str:
    """The first mistake, as `train.steps=0: input should be greater than or equal to 1`."""
    first = error.errors()[0]
    # an index is shown with its whole list, and which of several types was tried last is not shown
    path = [part for part in first["loc"] if isinstance(part, str) and "[" not in part]
    key = prefix + ".".join(path)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"'{key}' is not an option{did_you_mean(key, names)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "too few entries"
        if isinstance(first["loc"][-1], str):
            return f"{key} is required and was taken away"
    if first["type"] == "secret" or key == "server.key_variable":
        return f"{key}: {message}" if first["type"] == "secret" else f"{key}: the name of a variable, in capitals"
    if not path:
        return prefix.removesuffix(".") + (": " if prefix else "") + message
    return f"{key}={without_credentials(str(first['input']))}: {message[0].lower()}{message[1:]}"


def option_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += option_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def run_directory(resume: Any, output_dir: Any) -> str:
    """The OmegaConf resolver behind `hydra.run.dir`: a resumed run goes on in its own directory."""
    named, given = ("output_dir", output_dir) if resume is None else ("resume", resume)
    if not isinstance(given, str) or not given:
        raise RequestError(f"{named}={given}: give a folder")
    if resume is not None and not (Path(given) / "config.yaml").is_file():
        raise RequestError(f"resume={given}: no run there (no config.yaml)")
    first_missing(os.path.abspath(given))
    return str(Path(given))


@cache
def first_missing(folder: str) -> str | None:
    """The outermost folder of a path that is not there when this is first asked: what Hydra makes, and what a request
    that is refused takes away again. None where all of it is there."""
    path = Path(folder)
    missing = [str(p) for p in (path, *path.parents) if not p.exists()]
    return missing[-1] if missing else None


def folder_name(text: str) -> str:
    """The OmegaConf resolver behind folders that overrides name: one folder, whatever is in them, and not too long."""
    name = re.sub(r"[/\\\x00-\x1f]", "_", str(text)).replace("..", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{zlib.crc32(name.encode()):08x}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
