from __future__ import annotations

import torch

from tgpo.tasks.arithmetic import evaluate
from tgpo.tasks.verifier import last_boxed
from tgpo.tiny.recipe import IGNORE, add_noise, cosine, encode_batch, fit, new_model, peak
from tgpo.tiny.solutions import mostly_at_once, student_style, teacher_style
from tgpo.tiny.tokenizer import build_tokenizer


def test_styles():
    assert teacher_style("37+85-12") == r"37+85=122;122-12=110;\boxed{110}"
    assert student_style("12+34-5") == r"12+34=46*=*46-5=41*=*\boxed{41}"
    assert teacher_style("12-85+20") == r"12-85=-73;-73+20=-53;\boxed{-53}"
    styled = [mostly_at_once(f"{a}+{b}") for a in range(10, 40) for b in range(10, 40)]
    assert 0.02 < sum(";" in text for text in styled) / len(styled) < 0.10
    for style in (teacher_style, student_style, mostly_at_once):
        assert last_boxed(style("99-10+45")) == str(evaluate("99-10+45"))


def test_only_the_response_carries_loss():
    tokenizer = build_tokenizer()
    ids, labels = encode_batch(tokenizer, ["12+34", "12+34-5"], teacher_style)
    for row, label in zip(ids, labels, strict=True):
        text = tokenizer.decode(label[label != IGNORE])
        assert text.endswith("}<|end|>")
        assert "<|user|>" not in text
        assert row[label != IGNORE].equal(label[label != IGNORE])


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
