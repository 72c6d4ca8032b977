"""The configuration, checked: every option typed and bounded before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from tgpo.errors import RequestError, did_you_mean

Beta = Annotated[float, Field(ge=0, lt=1)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StudentOptions(Options):
    name: str
    path: str


class TeacherOptions(Options):
    name: str
    path: str | None
    backend: Literal["hf", "vllm", "server"]


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
    key_variable: str

    @field_validator("urls")
    @classmethod
    def _parse(cls, urls: list[str]) -> list[str]:
        for url in urls:
            try:
                parts = urlsplit(url)
                fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
            except ValueError:
                fine = False
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
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    lr_schedule: Literal["constant", "linear", "cosine"]
    betas: tuple[Beta, Beta]
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    updates_per_batch: int = Field(ge=1)
    max_tokens_per_micro_batch: int = Field(ge=1)
    max_logits: int = Field(ge=1)
    entropy_bonus: float = Field(ge=0)
    checkpoint_every: int = Field(ge=1)
    keep_checkpoints: int = Field(ge=1)
    max_bad_steps: int = Field(ge=0)
    dtype: Literal["float32", "bfloat16"]
    device: str
    threads: int | None = Field(ge=1)


class EvalOptions(Options):
    every: int = Field(ge=1)
    samples_per_problem: int = Field(ge=1)
    temperature: float = Field(ge=0)
    max_response_length: int = Field(ge=1)


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
    seed: int = Field(ge=0)
    resume: str | None
    output_dir: str
    sweep_dir: str | None = None
    rerun: Literal["failed"] | None = None
    tuning: dict[str, Any]
    objective: dict[str, Any]
    task: dict[str, Any]
    student: StudentOptions
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

    @model_validator(mode="after")
    def _updates_have_groups(self) -> RunOptions:
        prompts, updates = self.rollout.prompts_per_batch, self.train.updates_per_batch
        if prompts % updates:
            raise ValueError(f"rollout.prompts_per_batch ({prompts}) does not divide into {updates} equal updates")
        return self


@dataclass(frozen=True)
class Request:
    """A checked request: the options, and the two parts that are built straight from the configuration."""

    options: RunOptions
    objective: Any
    task: Any
    resolved: dict[str, Any]


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
    return Request(options, objective, task, resolved)


def to_container(config: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(f"the configuration does not resolve: {first_line(error)}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def build(resolved: dict[str, Any], section: str) -> Any:
    """The object a section's `_target_` names, its mistakes told in the terms of the command line."""
    try:
        return instantiate(resolved[section], _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            names = [f"{section}.{field.name}" for field in fields(get_class(resolved[section]["_target_"]))]
            raise RequestError(explain(cause, names, f"{section}.")) from error
        raise RequestError(f"{section}: {first_line(cause)}") from error


def settings(objective: Any) -> dict[str, Any]:
    """The objective's options as plain values, every one of them."""
    values = TypeAdapter(type(objective)).dump_python(objective, mode="json")
    return {f.name: values[f.name] for f in fields(objective) if f.init}


def explain(error: ValidationError, names: list[str], prefix: str) -> str:
    """The first mistake, as `train.steps=0: input should be greater than or equal to 1`."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if isinstance(part, str)]  # an index is shown with its whole list
    key = prefix + ".".join(path)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"'{key}' is not an option{did_you_mean(key, names)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "too few entries"
        if isinstance(first["loc"][-1], str):
            return f"{key} is required and was taken away"
    if not path:
        return prefix.removesuffix(".") + (": " if prefix else "") + message
    return f"{key}={first['input']}: {message[0].lower()}{message[1:]}"


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


def run_directory(resume: str | None, output_dir: str) -> str:
    """The OmegaConf resolver behind `hydra.run.dir`: a resumed run goes on in its own directory."""
    return str(Path(resume)) if resume else output_dir
