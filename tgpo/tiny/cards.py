"""Writes a model card for each tiny model, with numbers that are measured when it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tgpo.tiny.family import FAMILY
from tgpo.tiny.measure import accuracy, policy_gap, use_of_texts

CARD = """---
license: apache-2.0
library_name: transformers
tags: [tiny, arithmetic, distillation]
---
# {name}

{how}

Made by `make models` of this repository (`tgpo/tiny/family.py`), on CPU, seed 0. Qwen3 architecture, hidden width
{width}, {layers} layers, {heads} heads, 2 key-value heads, MLP {mlp}, {parameters:,} parameters, {stored}, untied
embeddings; character-level tokenizer over printable ASCII ({vocabulary} tokens). Trained on sums of 2 to 4 two-digit
numbers, never on the held-out ones.

| measured on | value |
| --- | --- |
| greedy accuracy, 192 held-out sums | {accuracy:.3f} |
| mean response length, tokens | {length:.1f} |
| reverse KL to the teacher before training, nats a token (512 rollouts at temperature 1) | {gap:.2f} |
| tokens that are not the teacher's first choice | {mismatch:.3f} |
{texts}
Fit for testing and for experiments on the objectives of distillation; it can do nothing else.
Licence: Apache-2.0. No data from elsewhere went into it.
"""


def write_card(folder: Path, name: str, model: PreTrainedModel, teacher: PreTrainedModel, tokenizer: Any) -> Path:
    result = accuracy(model, tokenizer).metrics
    gap, mismatch = policy_gap(model, teacher, tokenizer)
    texts = use_of_texts(model, tokenizer) if FAMILY[name].reads_texts else {}
    text = CARD.format(
        name=name,
        how=FAMILY[name].how,
        width=model.config.hidden_size,
        layers=model.config.num_hidden_layers,
        heads=model.config.num_attention_heads,
        mlp=model.config.intermediate_size,
        stored=FAMILY[name].stored,
        parameters=sum(p.numel() for p in model.parameters()),
        vocabulary=len(tokenizer),
        accuracy=result["eval/arithmetic/accuracy"],
        length=result["eval/arithmetic/length_mean"],
        gap=max(gap, 0.0),
        mismatch=mismatch,
        texts="".join(f"| {what} | {value:.3f} |\n" for what, value in texts.items()),
    )
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path
