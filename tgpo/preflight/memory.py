"""Estimates a run's memory and a step's floating-point operations from the models' shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
# Bytes per logit while the head scores a chunk, with and without a backward pass. Measured with
# tgpo.functional.head.score_hidden: 20 to 22, and 12 to 14.
HEAD_BACKWARD, HEAD_FORWARD = 22, 14


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder.

    `queries` and `keys` are the number of heads times their width, `inner` is the MLP width that one token uses: in a
    mixture of experts, that of all the experts chosen for it.
    """

    parameters: int
    active: int  # parameters that one token uses: fewer in a mixture of experts
    layers: int
    hidden: int
    queries: int
    keys: int
    inner: int
    vocabulary: int  # columns of the head


@dataclass(frozen=True)
class TeacherPlan:
    """One model that scores the rollouts in this process or in an engine of vLLM's; teachers that differ in what they
    read alone are one."""

    shape: Shape
    backend: str  # hf or vllm
    weights: str = "model"
    name: str = "teacher"


@dataclass(frozen=True)
class Plan:
    """What a run does with its models. A batch is `rows` rollouts of at most `prompt` + `response` tokens."""

    rows: int
    prompt: int
    response: int
    micro_batch: int  # tokens
    max_logits: int
    dtype: str
    checkpointing: bool
    second_gradient: bool
    adapters: int  # rank of the LoRA adapters; 0 if the weights themselves are trained
    processes: int
    rollout: str  # hf or vllm
    scores_old: bool  # whether the trainer scores the rollouts again before the update
    teachers: tuple[TeacherPlan, ...] = ()
    reference: bool = False  # whether the student as it was before training scores the rollouts too
    passes: int = 1  # micro-batches that are processed at the same time, on CPU

    @property
    def teachers_here(self) -> list[TeacherPlan]:
        """The teachers that run in this process, without vLLM."""
        return [teacher for teacher in self.teachers if teacher.backend == "hf"]


def shape_of(config: Any, parameters: int | None = None) -> Shape:
    """Returns the shape of a configuration's model; `parameters`, if not given, is counted on the meta device."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    width = getattr(config, "head_dim", None) or hidden // heads
    experts = getattr(config, "num_experts", 0) or getattr(config, "num_local_experts", 0) or 0
    chosen, dense = getattr(config, "num_experts_per_tok", 0) or 0, getattr(config, "intermediate_size", None)
    each = getattr(config, "moe_intermediate_size", None) or dense or 4 * hidden  # the last as in GPT-2, by default
    inner = chosen * each if experts else each
    total = parameters or count_on_meta(config)
    inactive = config.num_hidden_layers * (experts - chosen) * 3 * hidden * each if experts else 0
    keys = (getattr(config, "num_key_value_heads", None) or heads) * width
    layers, columns = config.num_hidden_layers, config.vocab_size
    return Shape(total, total - inactive, layers, hidden, heads * width, keys, inner, columns)


def count_on_meta(config: Any) -> int:
    """Returns the number of parameters; a tied head counts once."""
    return sum(p.numel() for p in on_meta(config).parameters())


def on_meta(config: Any) -> Any:
    """Returns the model that a configuration describes, on the meta device: no weights are allocated."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def permanent(student: Shape, plan: Plan) -> dict[str, float]:
    """Returns the bytes that each device holds during the whole run, without vLLM's engines.

    For N student parameters, A of them trained (all, or the adapters beside them), over P processes:
        student   4N of weights, 4A of gradient, 8A of AdamW's moments, all float32:  (4N + 12A) / P
        copy      4N on every device, if several processes roll out without vLLM: a sharded model cannot decode
        variance  4A / P, if gradient variance is measured with a second gradient
        teacher   b N_T on every device, N_T weights of b bytes (`dtype`), for each that runs in this process without
                  vLLM
    In float64 the student's terms are twice as large.
    """
    trained, width = (
        trained_parameters(student, plan.adapters),
        BYTES["float64" if plan.dtype == "float64" else "float32"],
    )
    held = {"student, gradient and AdamW": width * (student.parameters + 3 * trained) / plan.processes}
    if plan.processes > 1 and plan.rollout == "hf":
        held["student's copy for rollouts"] = width * student.parameters
    if plan.second_gradient:
        held["second gradient"] = width * trained / plan.processes
    for teacher in plan.teachers_here:
        held[teacher.name] = teaching(student, teacher, plan, width * trained / plan.processes)
    is_a_teacher = any(teacher.weights == "initial" for teacher in plan.teachers_here)
    if plan.reference and not plan.adapters and not is_a_teacher:
        held["reference"] = BYTES[plan.dtype] * student.parameters
    return held


def teaching(student: Shape, teacher: TeacherPlan, plan: Plan, trained: float) -> float:
    """Returns the bytes of a teacher that runs in this process without vLLM.

    Weights of the student's own cost nothing more while it is there as it is: as it stands (`live`), or as it was
    before it had adapters (`initial`). An average of them takes as much as what is trained.
    """
    if teacher.weights == "live" or (teacher.weights == "initial" and plan.adapters):
        return 0.0
    if teacher.weights == "ema":
        return trained + (4 * student.parameters / plan.processes if plan.adapters and plan.processes > 1 else 0)
    return float(BYTES[plan.dtype] * teacher.shape.parameters)


def trained_parameters(student: Shape, adapters: int) -> int:
    """Returns the number of trained parameters: all, or r (in + out) for each linear layer with adapters of rank r.

    All linear layers are counted; if `lora.targets` lists only some of them, there are fewer.
    """
    if not adapters:
        return student.parameters
    hidden, queries, keys, inner = student.hidden, student.queries, student.keys, student.inner
    return adapters * student.layers * (2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + inner))


def passing(student: Shape, plan: Plan) -> dict[str, float]:
    """Returns the temporary bytes of each stage on each device; stages do not overlap, so only the largest counts.

    For a micro-batch of m tokens, L layers, hidden size h, queries q, keys k and inner size i:
        a layer keeps  m (24 h + 16 (q + k) + 16 i) in float32, m (26 h + 10 (q + k) + 8 i) in bfloat16
        update         L layers; with gradient checkpointing 4 m h L of residuals and one layer; bfloat16 copies of the
                       weights, 2N (of two layers at a time over several processes); the head's chunk, 22 bytes a logit
        teacher        one layer, b m (h + q + 2 k + 3 i) in `dtype` of b bytes; the head's chunk, 14 bytes a logit
        rollouts (hf)  keys and values, 2 L k b for each token of all rollouts; a row of logits each, 14 bytes a logit
    A layer's constants were counted with saved_tensors_hooks on Qwen3 (tests/preflight/test_memory.py counts them
    again); Qwen2 keeps a tenth less. Update and teacher count once for each pass that runs at the same time; if there
    are several, each has a gradient of its own. Fragmentation and kernels' workspaces are not included.
    """
    width, tokens = BYTES[plan.dtype], max(plan.micro_batch, plan.prompt + plan.response)  # no row is split
    layer = tokens * layer_bytes(student, plan.dtype)
    kept = 4 * tokens * student.hidden * student.layers + layer if plan.checkpointing else layer * student.layers
    copies = 0.0
    if plan.dtype != "float32":
        copies = 2 * student.parameters / (1 if plan.processes == 1 else student.layers / 2)
    gradients = plan.passes * BYTES["float32"] * trained_parameters(student, plan.adapters) if plan.passes > 1 else 0
    stages = {"update": plan.passes * (kept + HEAD_BACKWARD * chunk(plan, student, tokens)) + copies + gradients}
    if plan.teachers_here:
        stages["teacher's scores"] = plan.passes * max(
            tokens * width_of_a_layer(teacher.shape) * width + HEAD_FORWARD * chunk(plan, teacher.shape, tokens)
            for teacher in plan.teachers_here
        )
    if plan.rollout == "hf":
        cache = 2 * student.layers * student.keys * width * (plan.prompt + plan.response)
        stages["rollouts"] = plan.rows * (cache + HEAD_FORWARD * student.vocabulary)
    return stages


def width_of_a_layer(shape: Shape) -> int:
    return shape.hidden + shape.queries + 2 * shape.keys + 3 * shape.inner


def layer_bytes(shape: Shape, dtype: str) -> int:
    attention = shape.queries + shape.keys
    if dtype == "float32":
        return 24 * shape.hidden + 16 * attention + 16 * shape.inner
    return 26 * shape.hidden + 10 * attention + 8 * shape.inner


def chunk(plan: Plan, shape: Shape, tokens: int) -> int:
    """Returns the number of logits that exist at one time."""
    return min(plan.max_logits, tokens * shape.vocabulary)


def arithmetic(student: Shape, plan: Plan) -> dict[str, float]:
    """Returns the floating-point operations of a step, over all devices, if every rollout reaches its cap.

    A forward pass of n tokens takes 2 N n for the N parameters that a token uses, and 2 n L q T for attention in
    sequences of T tokens (causal: half of 4 n L q T). Rollouts and each scoring are one forward pass; an update counts
    as three, and as four with gradient checkpointing. Each rollout is scored by one teacher: the largest counts.
    """
    length = plan.prompt + plan.response
    tokens = plan.rows * length

    def forward(shape: Shape) -> float:
        return 2.0 * tokens * (shape.active + shape.layers * shape.queries * length)

    work = {"rollouts": forward(student), "update": (4 if plan.checkpointing else 3) * forward(student)}
    if plan.scores_old:
        work["old policy"] = forward(student)
    if plan.teachers:
        work["teacher"] = max(forward(teacher.shape) for teacher in plan.teachers)
    return work


def checkpoint_bytes(student: Shape, adapters: int = 0) -> int:
    """Returns the size of float32 weights, and of AdamW's two moments of the trained parameters."""
    return 4 * student.parameters + 8 * trained_parameters(student, adapters)
