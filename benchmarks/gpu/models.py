"""Builds models of a published shape with random weights, and a batch to train them on, to measure speed and memory."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from benchmarks.gpu.setting import Setting
from tgpo.config.compose import request_from
from tgpo.config.request import Request
from tgpo.models.loading import load_tokenizer
from tgpo.models.policy import Policy
from tgpo.objectives.base import Objective
from tgpo.preflight.memory import Plan, Shape, passing, permanent, shape_of
from tgpo.training import checkpoint
from tgpo.training.collector import CollectedBatch
from tgpo.training.trainer import Trainer
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.problem import Need, Problem, Rollout
from tgpo.types.teacher import TeacherSignal

VOCABULARY = 151_936
# hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads of Qwen2.5
SHAPES = {"0.5B": (896, 4864, 24, 14, 2), "1.5B": (1536, 8960, 28, 12, 2)}
TOY = (64, 128, 2, 4, 2)


def config_of(setting: Setting, name: str) -> Qwen2Config:
    hidden, inner, layers, heads, keys = setting.pick(SHAPES[name], TOY)
    return Qwen2Config(
        vocab_size=setting.pick(VOCABULARY, 1024), hidden_size=hidden, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=keys,
        max_position_embeddings=32_768, rope_theta=1e6, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip


def random_model(setting: Setting, name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Creates a model on the device, since a copy from the host would take longer than the measurement."""
    torch.manual_seed(0)
    with setting.device:
        model = AutoModelForCausalLM.from_config(config_of(setting, name), dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def request_for(*overrides: str) -> Request:
    """Returns a run's request at real scale, with the overrides of the measurement."""
    return request_from(
        ["train=gpu", "metrics=large", "train.updates_per_batch=1", "train.entropy_bonus=0.0",
         "metrics.gradient_variance_every=0", "metrics.divergence_every=0", *overrides]
    )  # fmt: skip


def scored_batch(
    objective: Objective, rows: int, prompt: int, response: int, vocabulary: int, device: torch.device, group: int = 4
) -> ScoredBatch:
    """Returns `rows` responses of full length in groups, with everything that the objective needs drawn at random."""
    torch.manual_seed(1)
    with device:
        grid, needs, topk = (rows, response), objective.needs, max(objective.teacher_topk, 1)
        best_BTK = torch.randn(*grid, topk).log_softmax(-1)
        signal = TeacherSignal(
            sampled_logprobs_BT=-torch.rand(grid),
            topk_ids_BTK=torch.randint(vocabulary, (*grid, topk)),
            topk_logprobs_BTK=best_BTK.sort(descending=True).values,
            sample_ids_BT=torch.randint(vocabulary, grid),
        )
        tokens = TokenBatch(
            torch.randint(vocabulary, (rows, prompt)), torch.ones(rows, prompt, dtype=torch.long),
            torch.randint(vocabulary, grid), torch.ones(grid),
        )  # fmt: skip
        return ScoredBatch(
            tokens=tokens,
            group_B=torch.arange(rows) // group,
            off_policy_B=torch.zeros(rows, dtype=torch.bool),
            reward_B=(torch.arange(rows) % 2).float() if Need.REWARD in needs else None,
            old_logprobs_BT=torch.full(grid, -11.9) if Need.OLD_LOGPROBS in needs else None,
            old_at_teacher_topk_BTK=best_BTK if Need.OLD_AT_TEACHER_TOPK in needs else None,
            teacher=signal.narrow(needs, topk),
            max_response_length=response,
        )


class GivenBatch:
    """Stands in for the collector with a batch that has been rolled out and scored already."""

    def __init__(self, batch: ScoredBatch) -> None:
        response = batch.mask_BT.shape[1]
        self.options = SimpleNamespace(prompts_per_batch=len(batch.group_B.unique()))
        self.rollout = SimpleNamespace(sync=lambda version: None)
        self.teacher = None
        self.batch = batch
        groups = batch.group_B.tolist()
        problem = Problem("p", "p", "1", "random")
        ids, logprobs = (0,) * response, (-11.9,) * response
        self.rollouts = [Rollout(problem, g, (0,), ids, logprobs, "student", "length", 0) for g in groups]

    def collect(self, step: int, objective: Objective, observe_topk: int) -> CollectedBatch:
        batch = self.batch
        nothing_B = torch.zeros(len(batch.group_B), device=batch.group_B.device)
        reward_B = nothing_B if batch.reward_B is None else batch.reward_B
        sampler_BT = torch.full(batch.mask_BT.shape, -11.9, device=batch.mask_BT.device)
        collected = CollectedBatch(batch, self.rollouts, [""] * len(self.rollouts), reward_B, sampler_BT, None, 0, 0, 0)
        collected.seconds["rollout"] = 1.0  # throughput divides by it, and there was no rollout
        return collected

    def teacher_states(self, tokens: TokenBatch) -> TeacherSignal:
        raise AssertionError("the batch holds all that its objective reads of the teacher")


def trainer_for(model: PreTrainedModel, request: Request, batch: ScoredBatch, vocabulary: int) -> Trainer:
    """Returns the trainer of a run around a given batch."""
    train = request.options.train
    policy = Policy(model, vocabulary, train.max_logits, train.dtype, train.gradient_checkpointing)
    engine: Any = GivenBatch(batch)
    return Trainer(policy, request.objective, engine, train, request.options.metrics, 0)


def estimated_bytes(model: PreTrainedModel, request: Request, rows: int, prompt: int, response: int) -> float:
    """Returns preflight's memory estimate for a run whose rollouts and teacher are elsewhere."""
    shape: Shape = shape_of(model.config, sum(p.numel() for p in model.parameters()))
    train = request.options.train
    plan = Plan(
        rows=rows, prompt=prompt, response=response, micro_batch=train.max_tokens_per_micro_batch,
        max_logits=train.max_logits, dtype=train.dtype, checkpointing=train.gradient_checkpointing,
        second_gradient=False, adapters=0, processes=1, rollout="vllm", scores_old=False,
    )  # fmt: skip
    return sum(permanent(shape, plan).values()) + max(passing(shape, plan).values())


def operations(model: PreTrainedModel, lengths: Sequence[int]) -> float:
    """Returns the operations of an update by `tgpo.preflight.memory.arithmetic`'s formula, without recomputation."""
    shape = shape_of(model.config, sum(p.numel() for p in model.parameters()))
    return sum(6.0 * n * (shape.active + shape.layers * shape.queries * n) for n in lengths)


def state_of(trainer: Trainer) -> checkpoint.State:
    return checkpoint.State(trainer.policy, trainer.optimizer, trainer.objective, load_tokenizer("tiny:teacher"))
