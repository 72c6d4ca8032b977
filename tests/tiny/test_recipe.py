from __future__ import annotations

import copy

import pytest
import torch

from tgpo.tasks.arithmetic import evaluate
from tgpo.tasks.verifier import last_boxed
from tgpo.tiny.recipe import IGNORE, add_noise, cosine, encode_batch, fit, interpolate, new_model, peak, rounded
from tgpo.tiny.solutions import (
    long_winded,
    mostly_at_once,
    reversed_digits,
    student_style,
    teacher_style,
    unboxed,
    wrong_at_minus,
)
from tgpo.tiny.tokenizer import build_tokenizer


def test_styles():
    assert teacher_style("37+85-12") == r"37+85=122;122-12=110;\boxed{110}"
    assert student_style("12+34-5") == r"12+34=46*=*46-5=41*=*\boxed{41}"
    assert teacher_style("12-85+20") == r"12-85=-73;-73+20=-53;\boxed{-53}"
    assert unboxed("12+34-5") == "12+34=46*=*46-5=41"
    styled = [mostly_at_once(f"{a}+{b}") for a in range(10, 40) for b in range(10, 40)]
    assert 0.02 < sum(";" in text for text in styled) / len(styled) < 0.10
    assert long_winded("37+85-12") == r"37+80=117;117+5=122;122-10=112;112-2=110;\boxed{110}"
    assert reversed_digits("37+85-12") == r"73+58=221;221-21=011;\boxed{110}"
    for style in (teacher_style, student_style, mostly_at_once, long_winded, reversed_digits):
        assert last_boxed(style("99-10+45")) == str(evaluate("99-10+45"))


def test_the_biased_style_is_one_too_many_at_every_minus():
    assert wrong_at_minus("12-85+20-10") == r"12-85=-72;-72+20=-52;-52-10=-61;\boxed{-61}"
    assert wrong_at_minus("12+85") == teacher_style("12+85")


def test_only_the_response_carries_loss():
    tokenizer = build_tokenizer()
    ids, labels = encode_batch(tokenizer, ["12+34", "12+34-5"], teacher_style)
    for row, label in zip(ids, labels, strict=True):
        text = tokenizer.decode(label[label != IGNORE])
        assert text.endswith("}<|end|>")
        assert "<|user|>" not in text
        assert row[label != IGNORE].equal(label[label != IGNORE])


@pytest.mark.slow
def test_training_lowers_the_loss_and_repeats_itself():
    tokenizer = build_tokenizer()

    def trained():
        model = new_model(tokenizer)
        for _ in fit(model, tokenizer, teacher_style, cosine(3e-3, 6), "test"):
            pass
        return model

    first, again = trained(), trained()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    ids, labels = encode_batch(tokenizer, ["12+34", "12+34-5"], teacher_style)
    losses = [model(ids, labels=labels).loss.item() for model in (new_model(tokenizer), first)]
    assert losses[1] < losses[0]


def test_noise_and_peak_leave_the_original_alone():
    model = new_model(build_tokenizer())
    before = [p.clone() for p in model.parameters()]
    noisy, peaked = add_noise(model, 0.3, 0), peak(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not torch.equal(noisy.lm_head.weight, model.lm_head.weight)
    assert torch.equal(noisy.model.norm.weight, model.model.norm.weight)
    ids = torch.tensor([[3, 6, 7, 4]])
    torch.testing.assert_close(peaked(ids).logits, 2 * model(ids).logits)


def test_between_two_models_and_back():
    start = new_model(build_tokenizer())
    end = add_noise(start, 0.3, 0)
    half = interpolate(start, end, 0.5)
    for a, b, c in zip(start.parameters(), half.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(b, (a + c) / 2)
    assert all(
        torch.equal(a, b) for a, b in zip(end.parameters(), interpolate(start, end, 1.0).parameters(), strict=True)
    )


def test_what_is_stored_in_bfloat16_is_what_was_measured():
    model = rounded(new_model(build_tokenizer()))
    stored = copy.deepcopy(model).bfloat16()
    assert all(torch.equal(a, b.float()) for a, b in zip(model.parameters(), stored.parameters(), strict=True))
