"""The type and bounds of every option; `conf/` documents each where it is defined."""

from __future__ import annotations

import datetime
import json
import re
from importlib.util import find_spec
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

KEY_ADVICE = "put the server's key into the environment variable that server.key_variable names"
MOST_THREADS = 1_024  # some libraries crash if the system cannot start as many threads as requested

Beta = Annotated[float, Field(ge=0, lt=1)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Raises ValueError for true or false where the option is not a switch: pydantic would accept true as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in (bool, bool | None):
            raise ValueError("input should not be true or false")
        return value


def iso_date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("input should be a date such as 2026-11-28") from None


class StudentOptions(Options):
    name: str
    path: str
    revision: str | None
    config: dict[str, Any]
    chat_template: str | None
    end_tokens: list[str]
    date: Annotated[str, AfterValidator(iso_date)] | None = None  # a default, so that older runs can be resumed


class LoraOptions(Options):
    rank: int = Field(ge=0)
    alpha: int = Field(ge=1)
    targets: Literal["all-linear"] | list[str]


def addresses(urls: list[str]) -> list[str]:
    """Returns the addresses of servers without `/v1`; raises ValueError for what is no address or holds a password."""
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


Addresses = Annotated[list[str], AfterValidator(addresses)]


class TeacherOptions(Options):
    name: str
    path: str | None
    backend: Literal["hf", "vllm", "server"]
    revision: str | None
    config: dict[str, Any]
    extra_tokens: Literal["refuse", "drop"]
    other_eos: Literal["refuse", "ignore"]
    # with defaults, so that older runs can be resumed
    weights: Literal["model", "initial", "live", "ema"] = "model"
    decay: Beta = 0.99
    chat_template: str = "student"
    template_arguments: dict[str, Any] = Field(default_factory=dict)
    system_prompt: str | None = None
    context: dict[str, Any] = Field(default_factory=lambda: {"_target_": "tgpo.contexts.none.NoContext"})
    urls: Addresses = Field(default_factory=list)
    route: str | None = None

    @model_validator(mode="after")
    def _the_student_is_in_this_process(self) -> TeacherOptions:
        if self.weights in ("live", "ema") and self.backend != "hf":
            raise ValueError(
                f"weights={self.weights}: these are weights of the student that trains in this process; use "
                f"teacher.backend=hf, not {self.backend}"
            )
        return self

    @model_validator(mode="after")
    def _template_is_known(self) -> TeacherOptions:
        if self.chat_template == "own" and self.backend == "server":
            raise ValueError("chat_template=own: that of a teacher behind a server is not known here; give a file")
        return self

    @property
    def model_key(self) -> str:
        """The options that say which model it is and where it runs: teachers that differ in what they read alone have
        the same, and are loaded once."""
        which = (self.path, self.revision, self.config, self.weights, self.backend, self.urls, self.extra_tokens)
        return json.dumps(which)

    @property
    def local_path(self) -> str | None:
        """The teacher's path; None if there is no teacher or it is behind a server."""
        return None if self.backend == "server" else self.path


class VLLMOptions(Options):
    rollout_memory: float = Field(gt=0, lt=1)
    teacher_memory: float = Field(gt=0, lt=1)
    tensor_parallel_size: int = Field(ge=1)
    max_model_len: int | None = Field(ge=1)
    enforce_eager: bool | None
    sleep: bool
    cpu_cache_gib: int = Field(ge=1)
    teacher_batched_tokens: int = Field(default=2048, ge=256)  # a default, so that older runs can be resumed


class ServerOptions(Options):
    urls: Addresses
    concurrency: int = Field(ge=1)
    timeout: float = Field(gt=0)
    patience: float = Field(ge=0)
    key_variable: str = Field(pattern="^[A-Z_][A-Z0-9_]*$")  # refuses most keys that are given here by mistake


class DemonstrationOptions(Options):
    path: str | None
    temperature: float = Field(ge=0)
    attempts: int = Field(ge=1)

    @model_validator(mode="after")
    def _attempts_differ(self) -> DemonstrationOptions:
        if self.path is None and self.attempts > 1 and self.temperature == 0:
            raise ValueError(f"attempts={self.attempts}: at temperature 0 they are all the same; use attempts=1")
        return self


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
                "importance_cap: it compares the trainer's policy with the sampler's; set old_logprobs=recompute"
            )
        if self.importance_cap is not None and self.temperature != 1:
            raise ValueError("importance_cap: it needs temperature=1, that of the sampler's log-probabilities")
        return self


class TrainOptions(Options):
    steps: int = Field(ge=1)
    lr: float = Field(gt=0, le=1)  # AdamW moves a weight by about this much per step; the bound avoids overflow
    warmup_steps: int = Field(ge=0)
    lr_schedule: Literal["constant", "linear", "cosine"]
    betas: tuple[Beta, Beta]
    weight_decay: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(gt=0)
    updates_per_batch: int = Field(ge=1)
    max_tokens_per_micro_batch: int = Field(ge=1)
    passes_at_once: int | None = Field(default=1, ge=1, le=MOST_THREADS)  # 1: as before this option existed
    max_logits: int = Field(ge=1)
    entropy_bonus: float = Field(ge=0)
    gradient_checkpointing: bool
    checkpoint_every: int = Field(ge=1)
    keep_checkpoints: int = Field(ge=1)
    max_bad_steps: int = Field(ge=0)
    dtype: Literal["float32", "bfloat16", "float64"]
    device: str
    threads: int | None = Field(ge=1, le=MOST_THREADS)
    profile: bool = False  # a default, so that runs made before this option existed can be resumed

    def passes(self, on_cpu: bool, processes: int, threads: int) -> int:
        """Returns how many forward and backward passes to run at a time: `passes_at_once`, or one per thread.

        It is 1 on a GPU, which one pass keeps busy; with several processes, which run a sharded model's passes
        together; and with gradient checkpointing, which changes the model during a pass.
        """
        if not on_cpu or processes > 1 or self.gradient_checkpointing:
            return 1
        return self.passes_at_once or self.threads or threads


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
    def _samples_differ(self) -> EvalOptions:
        if self.held_out and self.samples_per_problem > 1 and self.temperature == 0:
            raise ValueError(
                f"samples_per_problem={self.samples_per_problem}: at temperature 0 they are all the same; give a "
                "temperature too"
            )
        return self

    @model_validator(mode="after")
    def _evaluates_something(self) -> EvalOptions:
        if not self.held_out and not self.benchmarks:
            raise ValueError("held_out=False: nothing to evaluate on; set held_out=true or choose eval=math")
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
    """The complete configuration. `objective` and `task` are checked when they are built."""

    name: str
    seed: int = Field(ge=0, lt=2**63)  # the range that torch accepts
    resume: str | None
    resume_with_changes: bool = False  # a default, so that runs made before this option existed can be resumed
    output_dir: str
    preflight_only: bool
    sweep_dir: str | None = None
    rerun: Literal["failed"] | None = None
    scale: dict[str, Any]
    objective: dict[str, Any]
    task: dict[str, Any]
    student: StudentOptions
    lora: LoraOptions
    teacher: TeacherOptions
    teachers: dict[str, Any] = Field(default_factory=dict)  # checked in tgpo/config/teachers.py
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
            raise ValueError("it names a folder: letters, digits and . _ + = - only")
        return name

    @model_validator(mode="after")
    def _updates_have_groups(self) -> RunOptions:
        prompts, updates = self.rollout.prompts_per_batch, self.train.updates_per_batch
        if prompts % updates:
            raise ValueError(f"rollout.prompts_per_batch ({prompts}) does not divide into {updates} equal updates")
        return self

    @model_validator(mode="after")
    def _vllm_has_the_type(self) -> RunOptions:
        if self.train.dtype == "float64" and self.rollout.backend == "vllm":
            raise ValueError("train.dtype=float64 is not a type vLLM knows; use rollout=hf and teacher.backend=hf")
        return self

    @model_validator(mode="after")
    def _a_route_is_between_several(self) -> RunOptions:
        if len(self.teachers) > 1 and self.teacher.route is None:
            raise ValueError(
                f"teachers: {len(self.teachers)} are named and nothing says which problem is whose; set "
                "teacher.route=task, or the name of one of the row's texts"
            )
        if self.teacher.route is not None and not self.teachers:
            raise ValueError(
                f"teacher.route={self.teacher.route}: there is one teacher; name several, as in teachers.NAME.path=PATH"
            )
        return self
