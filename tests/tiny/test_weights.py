"""The shipped weights are what their cards say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tgpo.models.loading import TINY_ROOT, load_model
from tgpo.tiny.family import FAMILY
from tgpo.tiny.measure import accuracy, policy_gap, use_of_texts

NAMES = sorted(path.name for path in TINY_ROOT.iterdir())


IN_EVERY_TEST = ("teacher", "large-gap")  # a model takes three seconds to measure; the files change with `make models`
MEASURED = [name if name in IN_EVERY_TEST else pytest.param(name, marks=pytest.mark.long) for name in NAMES]


@pytest.fixture(scope="module", params=MEASURED)
def shipped(request, tokenizer, teacher_model):
    model = load_model(f"tiny:{request.param}", "float32", "cpu")
    greedy = accuracy(model, tokenizer).metrics["eval/arithmetic/accuracy"]
    return request.param, greedy, *policy_gap(model, teacher_model, tokenizer)


def measured(card: str) -> dict[str, float]:
    return {what: float(value) for what, value in re.findall(r"^\| (.*) \| ([0-9.]+) \|$", card, re.M)}


BOUNDS = {  # name: (least, most accuracy), (least, most reverse KL before training, nats a token)
    "teacher": ((0.97, 1.0), (-1e-4, 1e-4)),
    "large-gap": ((0.40, 0.70), (5.0, 20.0)),
    "peaked": ((0.40, 0.70), (5.0, 20.0)),
    "small-gap": ((0.40, 0.90), (0.0, 0.5)),
    "answer-at-once": ((0.0, 0.30), (3.0, 20.0)),
    "unboxed": ((0.0, 0.0), (3.0, 20.0)),
    "gap-0.5": ((0.55, 0.75), (0.4, 0.7)),
    "gap-1": ((0.55, 0.75), (0.9, 1.4)),
    "gap-2": ((0.55, 0.75), (1.7, 2.4)),
    "gap-4": ((0.50, 0.75), (3.4, 4.5)),
    "teacher-weak": ((0.88, 0.97), (0.0, 0.2)),
    "teacher-weaker": ((0.75, 0.88), (0.0, 0.3)),
    "teacher-weakest": ((0.45, 0.70), (0.2, 1.0)),
    "teacher-biased": ((0.20, 0.40), (0.2, 1.0)),
    "teacher-biased-plus": ((0.20, 0.40), (0.2, 1.0)),
    "teacher-long": ((0.95, 1.0), (1.0, 20.0)),
    "teacher-reversed": ((0.90, 1.0), (1.0, 20.0)),
    "hint": ((0.20, 0.35), (0.2, 0.8)),
    "teacher-small": ((0.60, 1.0), (0.0, 2.0)),
}


def test_every_model_has_bounds():
    assert set(BOUNDS) == set(NAMES)


@pytest.mark.slow
def test_accuracy_and_gap(shipped):
    name, greedy, gap, _ = shipped
    (least, most), (nearest, farthest) = BOUNDS[name]
    assert least <= greedy <= most
    assert nearest <= gap <= farthest


@pytest.mark.slow
def test_the_card_says_what_is_measured(shipped):
    name, greedy, gap, mismatch = shipped
    card = (TINY_ROOT / name / "README.md").read_text()
    rows = [*measured(card).values()]
    # another processor may round a few sampled tokens differently
    assert rows[0] == pytest.approx(greedy, abs=0.011)
    assert rows[2] == pytest.approx(gap, abs=0.1)
    assert rows[3] == pytest.approx(mismatch, abs=0.01)
    assert "apache-2.0" in card


READERS = [name for name in NAMES if FAMILY[name].reads_texts]


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_reader_uses_its_own_texts_and_others_less(name, tokenizer):
    model = load_model(f"tiny:{name}", "float32", "cpu")
    found, card = use_of_texts(model, tokenizer), measured((TINY_ROOT / name / "README.md").read_text())
    plain = card["greedy accuracy, 192 held-out sums"]
    for what, value in found.items():
        assert card[what] == pytest.approx(value, abs=0.02), what
    assert found["accuracy at temperature 1"] >= 0.1
    for text in ("hint", "solution", "answer"):
        assert found[f"greedy accuracy with the {text}"] >= plain + 0.4
        assert (
            found[f"greedy accuracy with another problem's {text}"] < found[f"greedy accuracy with the {text}"] - 0.05
        )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in READERS])
def test_no_other_card_speaks_of_texts(name):
    assert len(measured((TINY_ROOT / name / "README.md").read_text())) == 4


def test_peaked_answers_as_the_large_gap_student(tokenizer):
    a, b = (accuracy(load_model(f"tiny:{n}", "float32", "cpu"), tokenizer).responses for n in ("large-gap", "peaked"))
    assert a == b


@pytest.mark.parametrize("name", NAMES)
def test_loads_as_any_model_does(name):
    folder = TINY_ROOT / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == 101
    assert model.config.eos_token_id == tokenizer.eos_token_id
    text = "anything printable: a+b=c?\n{}~"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    turns = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "<|user|>1+1<|assistant|>2<|end|>"


def test_all_together_stay_small():
    files = [path for path in Path(TINY_ROOT).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6
    assert not any(path.suffix in {".bin", ".pt", ".pth", ".pkl"} for path in files)
