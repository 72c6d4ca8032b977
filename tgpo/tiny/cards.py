"""A model card for each tiny model, its numbers measured when it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tgpo.tiny.measure import accuracy, policy_gap

HOW = {
    "teacher": (
        "Trained from scratch on running totals (`37+85-12` -> `37+85=122;122-12=110;\\boxed{110}`): 2,000 steps of 64 "
        "problems at a peak learning rate of 3e-3, then 2,800 at 1.5e-3, cosine decay each."
    ),
    "small-gap": (
        "The teacher's checkpoint after 2,000 steps, with noise on every matrix: "
        "`p += randn * 0.5 * std(p)`. Same format as the teacher, less skill."
    ),
    "large-gap": (
        "The teacher, fine-tuned for 400 steps of 64 problems at a constant learning rate of 5e-4 to a format of its "
        "own, `12+34=46*=*46-5=41*=*\\boxed{41}`, then noise on every matrix: `p += randn * 0.3 * std(p)`. It can do "
        "sums, but its rollouts leave the teacher's support at the first separator."
    ),
    "peaked": "The large-gap student with its final norm's weight doubled: logits times two, greedy answers unchanged.",
    "answer-at-once": (
        "The teacher, fine-tuned for 200 steps of 64 problems at 5e-4 to answer without working "
        "(`\\boxed{110}`), but for 6 problems in 100, which keep the running totals."
    ),
}

CARD = """---
license: apache-2.0
library_name: transformers
tags: [tiny, arithmetic, distillation]
---
# {name}

{how}

Made by `make models` of this repository (`tgpo/tiny/recipe.py`), on CPU, seed 0. Qwen3 architecture, hidden width 128,
4 layers, 4 heads, 2 key-value heads, MLP 384, {parameters:,} parameters, float32, untied embeddings; character-level
tokenizer over printable ASCII ({vocabulary} tokens). Trained on sums of 2 to 4 two-digit numbers, never on the
held-out ones.

| measured on | value |
| --- | --- |
| greedy accuracy, 192 held-out sums | {accuracy:.3f} |
| mean response length, tokens | {length:.1f} |
| reverse KL to the teacher before training, nats a token (512 rollouts at temperature 1) | {gap:.2f} |
| tokens that are not the teacher's first choice | {mismatch:.3f} |

Fit for testing and for experiments on the objectives of distillation; it can do nothing else.
Licence: Apache-2.0. No data from elsewhere went into it.
"""


def write_card(folder: Path, name: str, model: PreTrainedModel, teacher: PreTrainedModel, tokenizer: Any) -> Path:
    result = accuracy(model, tokenizer).metrics
    gap, mismatch = policy_gap(model, teacher, tokenizer)
    text = CARD.format(
        name=name,
        how=HOW[name],
        parameters=sum(p.numel() for p in model.parameters()),
        vocabulary=len(tokenizer),
        accuracy=result["eval/arithmetic/accuracy"],
        length=result["eval/arithmetic/length_mean"],
        gap=max(gap, 0.0),
        mismatch=mismatch,
    )
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path
