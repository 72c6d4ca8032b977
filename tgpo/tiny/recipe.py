"""Operations that make the tiny models: training on a style, noise, interpolation. `family.py` combines them."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen3Config, Qwen3ForCausalLM

from tgpo.tasks.arithmetic import expressions
from tgpo.tiny.privileged import Ask, plainly
from tgpo.tiny.solutions import Style

BATCH = 64
TERMS = (2, 3, 4)
IGNORE = -100


def new_model(tokenizer: Any, seed: int = 0, width: int = 128, layers: int = 4) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def encode_batch(tokenizer: Any, problems: list[str], style: Style, ask: Ask = plainly) -> tuple[Tensor, Tensor]:
    """Returns right-padded ids and labels; the prompt's labels are ignored by the loss."""
    rows, labels = [], []
    for asked in ask(problems):
        turns = [{"role": "user", "content": asked}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        response = [*tokenizer(style(asked)).input_ids, tokenizer.eos_token_id]
        rows.append(torch.tensor([*prompt, *response]))
        labels.append(torch.tensor([IGNORE] * len(prompt) + response))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, batch_first=True, padding_value=0), pad(labels, batch_first=True, padding_value=IGNORE)


def fit(
    model: Qwen3ForCausalLM, tokenizer: Any, style: Style, rates: Iterator[float], seed: str, ask: Ask = plainly
) -> Iterator[int]:
    """Trains the model on a style of solutions, one step per learning rate in `rates`; yields after every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.0)
    stream = expressions(random.Random(seed), TERMS, held_out=False)
    for step, rate in enumerate(rates, start=1):
        optimizer.param_groups[0]["lr"] = rate
        ids, labels = encode_batch(tokenizer, [next(stream) for _ in range(BATCH)], style, ask)
        logits = model(ids[:, :-1]).logits  # right padding under a causal mask: no attention mask is needed
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"  step {step}: loss {loss.item():.4f}", flush=True)
        yield step


def cosine(peak: float, steps: int, warmup: int = 50) -> Iterator[float]:
    for step in range(steps):
        decay = 0.5 * (1 + math.cos(math.pi * step / steps))
        yield peak * min(1.0, (step + 1) / warmup) * decay


def train(
    model: Qwen3ForCausalLM,
    tokenizer: Any,
    style: Style,
    rates: Iterator[float],
    seed: str = "student",
    ask: Ask = plainly,
) -> Qwen3ForCausalLM:
    """Returns a copy of the model, trained further on solutions in a style to what `ask` makes of the expressions."""
    trained = copy.deepcopy(model)
    for _ in fit(trained, tokenizer, style, rates, seed, ask):
        pass
    return trained


def add_noise(model: Qwen3ForCausalLM, scale: float, seed: int) -> Qwen3ForCausalLM:
    """Returns a copy with noise on every matrix: `p += randn * scale * std(p)`."""
    noisy, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in noisy.parameters():
            if parameter.ndim == 2:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * scale * parameter.std())
    return noisy


def peak(model: Qwen3ForCausalLM, factor: float = 2.0) -> Qwen3ForCausalLM:
    """Returns a copy with logits times `factor`, by scaling the final norm's weight; greedy answers are unchanged."""
    peaked = copy.deepcopy(model)
    with torch.no_grad():
        peaked.model.norm.weight.mul_(factor)
    return peaked


def interpolate(start: Qwen3ForCausalLM, end: Qwen3ForCausalLM, share: float) -> Qwen3ForCausalLM:
    """Returns `(1 - share) * start + share * end`, weight by weight.

    Meaningful only if one model was fine-tuned from the other.
    """
    between, ends = copy.deepcopy(start), dict(end.named_parameters())
    with torch.no_grad():
        for name, parameter in between.named_parameters():
            parameter.lerp_(ends[name], share)
    return between


def rounded(model: Qwen3ForCausalLM) -> Qwen3ForCausalLM:
    """Returns a copy with weights rounded to bfloat16, as they are after storing in half the space."""
    return copy.deepcopy(model).bfloat16().float()
