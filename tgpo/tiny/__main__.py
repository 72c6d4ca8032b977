"""`python -m tgpo.tiny [FOLDER]` makes the tiny models and their cards from nothing; `make models` calls it."""

from __future__ import annotations

from pathlib import Path

import torch

from tgpo.errors import Parser
from tgpo.models import TINY_ROOT
from tgpo.rundir import make_folder
from tgpo.tiny.cards import write_card
from tgpo.tiny.recipe import add_noise, peak, retrain, train_teachers
from tgpo.tiny.solutions import mostly_at_once, student_style
from tgpo.tiny.tokenizer import build_tokenizer


def main() -> None:
    parser = Parser(prog="python -m tgpo.tiny", description="Make the tiny models from nothing.")
    parser.add_argument("folder", nargs="?", type=Path, default=TINY_ROOT, help="where to (default: the package)")
    # before the hour that it takes
    folder = make_folder(parser.parse_args().folder, "FOLDER")
    torch.use_deterministic_algorithms(True)
    tokenizer = build_tokenizer()
    half_trained, teacher = train_teachers(tokenizer)
    large_gap = add_noise(retrain(teacher, tokenizer, student_style, rate=5e-4, steps=400), 0.3, seed=0)
    models = {
        "teacher": teacher,
        "small-gap": add_noise(half_trained, 0.5, seed=0),
        "large-gap": large_gap,
        "peaked": peak(large_gap),
        "answer-at-once": retrain(teacher, tokenizer, mostly_at_once, rate=5e-4, steps=200),
    }
    for name, model in models.items():
        model.eval()
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        print(write_card(folder / name, name, model, teacher, tokenizer))


if __name__ == "__main__":
    main()
