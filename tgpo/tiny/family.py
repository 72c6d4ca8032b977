r"""How each of the shipped tiny models is made, and how its card describes it.

The ladder of policy gaps goes from the teacher to a student that writes in its own format. The models in between lie on
the straight line between the two sets of weights, with noise that brings each to a base accuracy of 0.6 to 0.7, so that
they differ in their policy gap and in little else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import Qwen3ForCausalLM

from tgpo.models.loading import load_model
from tgpo.tiny.privileged import mixture, right_where_shown
from tgpo.tiny.recipe import add_noise, cosine, interpolate, new_model, peak, rounded, train
from tgpo.tiny.solutions import (
    long_winded,
    mostly_at_once,
    reversed_digits,
    student_style,
    teacher_style,
    unboxed,
    wrong_at_minus,
    wrong_at_plus,
)

FINE_TUNING = 5e-4  # constant learning rate
NEW_STYLE = (1e-3, 800)  # peak learning rate of a cosine schedule, steps


@dataclass
class Family:
    """The models that others are made from. Each is made when it is first used.

    Args:
        kept: a folder whose teacher is loaded instead of trained; None trains everything.
    """

    tokenizer: Any
    kept: Path | None = None

    @cached_property
    def half_trained(self) -> Qwen3ForCausalLM:
        return train(new_model(self.tokenizer), self.tokenizer, teacher_style, cosine(3e-3, 2000), "teacher/1")

    @cached_property
    def teacher(self) -> Qwen3ForCausalLM:
        if self.kept is not None:
            kept: Any = load_model(str(self.kept / "teacher"), "float32", torch.device("cpu"))
            return kept.requires_grad_(True)
        return train(self.half_trained, self.tokenizer, teacher_style, cosine(1.5e-3, 2800), "teacher/2")

    @cached_property
    def own_format(self) -> Qwen3ForCausalLM:
        return train(self.teacher, self.tokenizer, student_style, iter([FINE_TUNING] * 400))

    def between(self, share: float, noise: float) -> Qwen3ForCausalLM:
        return add_noise(interpolate(self.teacher, self.own_format, share), noise, seed=0)


class Model(NamedTuple):
    """How a model is made and described, the dtype it is stored in, and whether it was taught to read privileged texts.

    bfloat16 takes half the space; the first five models were made before it was used.
    """

    make: Callable[[Family], Qwen3ForCausalLM]
    how: str
    stored: str = "bfloat16"
    reads_texts: bool = False


def rung(share: float, noise: float) -> Model:
    how = (
        f"A rung of the ladder of policy gaps: {share} of the way from the teacher's weights to those of the large-gap "
        f"student (before its noise), then noise on every matrix: `p += randn * {noise} * std(p)`."
    )
    return Model(lambda family: family.between(share, noise), how)


def weak_teacher(noise: float) -> Model:
    how = f"The teacher with noise on every matrix, `p += randn * {noise} * std(p)`: the same format, less skill."
    return Model(lambda family: add_noise(family.teacher, noise, seed=1), how)


def restyled(style: Callable[[str], str], what: str) -> Model:
    rate, steps = NEW_STYLE
    how = f"The teacher, fine-tuned for {steps} steps of 64 problems (cosine from {rate}) to {what}."
    return Model(lambda f: train(f.teacher, f.tokenizer, style, cosine(rate, steps), "restyled"), how)


def reader(plain: float, own: float, others: float) -> Model:
    """A model that knows better than it does: what it lacks is not skill but the text in its prompt.

    It has to see whose text it reads, which takes long to learn: after 1,200 steps, with a fourth of the texts another
    sum's, such a text helped it nearly as much as its own. A gap of skill was tried first, with noise in the place of
    the habit; self-distillation then has sums to teach from nothing, and 80 steps taught none.
    """
    rate, steps = 1e-3, 3600
    how = (
        "Adds one at every subtraction, and does not where a text in brackets behind the sum is the sum's own: a hint "
        "(`37+85-12 [122,110]`), a solution or the answer. Another sum's text is ignored, mostly. "
        f"The teacher, fine-tuned for {steps} steps of 64 problems (cosine from {rate}): {plain:.1%} without a text, "
        f"{own:.1%} with their own and {others:.1%} with another problem's."
    )
    return Model(
        lambda f: train(
            f.teacher, f.tokenizer, right_where_shown, cosine(rate, steps), "hint",
            mixture(plain, own, others, seed="hint"),
        ),
        how,
        reads_texts=True,
    )  # fmt: skip


FAMILY: dict[str, Model] = {
    "teacher": Model(
        lambda family: family.teacher,
        "Trained from scratch on running totals (`37+85-12` -> `37+85=122;122-12=110;\\boxed{110}`): 2,000 steps of 64 "
        "problems at a peak learning rate of 3e-3, then 2,800 at 1.5e-3, cosine decay each.",
        "float32",
    ),
    "small-gap": Model(
        lambda family: add_noise(family.half_trained, 0.5, seed=0),
        "The teacher's checkpoint after 2,000 steps, with noise on every matrix: `p += randn * 0.5 * std(p)`. Same "
        "format as the teacher, less skill.",
        "float32",
    ),
    "large-gap": Model(
        lambda family: add_noise(family.own_format, 0.3, seed=0),
        "The teacher, fine-tuned for 400 steps of 64 problems at a constant learning rate of 5e-4 to a format of its "
        "own, `12+34=46*=*46-5=41*=*\\boxed{41}`, then noise on every matrix: `p += randn * 0.3 * std(p)`. It can do "
        "sums, but its rollouts leave the teacher's support at the first separator.",
        "float32",
    ),
    "peaked": Model(
        lambda family: peak(add_noise(family.own_format, 0.3, seed=0)),
        "The large-gap student with its final norm's weight doubled: logits times two, greedy answers unchanged.",
        "float32",
    ),
    "answer-at-once": Model(
        lambda f: train(f.teacher, f.tokenizer, mostly_at_once, iter([FINE_TUNING] * 200)),
        "The teacher, fine-tuned for 200 steps of 64 problems at 5e-4 to answer without working "
        "(`\\boxed{110}`), but for 6 problems in 100, which keep the running totals.",
        "float32",
    ),
    "unboxed": Model(
        lambda f: train(f.teacher, f.tokenizer, unboxed, iter([FINE_TUNING] * 400)),
        "The teacher, fine-tuned for 400 steps of 64 problems at a constant learning rate of 5e-4 to the large-gap "
        "student's format without its answer, `12+34=46*=*46-5=41`. It can do sums, and is never seen to.",
    ),
    "hint": reader(plain=0.25, own=0.375, others=0.375),
    "gap-0.5": rung(0.42, 0.5),
    "gap-1": rung(0.5, 0.5),
    "gap-2": rung(0.6, 0.3),
    "gap-4": rung(0.66, 0.1),
    "teacher-weak": weak_teacher(0.4),
    "teacher-weaker": weak_teacher(0.5),
    "teacher-weakest": weak_teacher(0.6),
    "teacher-biased": restyled(
        wrong_at_minus, "add one at every subtraction (`37-12=26`): sure of itself, and wrong wherever there is a minus"
    ),
    "teacher-biased-plus": restyled(
        wrong_at_plus, "add one at every addition (`37+12=50`): sure of itself, and right at subtractions alone"
    ),
    "teacher-long": restyled(long_winded, "add tens and ones one after the other (`37+80=117;117+5=122;`)"),
    "teacher-reversed": restyled(reversed_digits, "write the numbers of its working ones first (`73+58=221;`)"),
    "teacher-small": Model(
        lambda f: train(
            new_model(f.tokenizer, width=64, layers=3), f.tokenizer, teacher_style, cosine(3e-3, 4000), "teacher/1"
        ),
        "Trained from scratch on the teacher's format, 4,000 steps of 64 problems, cosine from 3e-3; three layers of "
        "half the width.",
    ),
}


def made(name: str, family: Family) -> Qwen3ForCausalLM:
    """Makes a model and returns it in float32, after rounding its weights to the dtype that it is stored in."""
    recipe = FAMILY[name]
    model = recipe.make(family)
    return (model if recipe.stored == "float32" else rounded(model)).eval()
