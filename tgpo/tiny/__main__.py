"""`python -m tgpo.tiny` makes the tiny models and their cards from scratch; `make models` calls it."""

from __future__ import annotations

from pathlib import Path

import torch

from tgpo.errors import Parser
from tgpo.models.loading import TINY_ROOT
from tgpo.runs.files import make_folder
from tgpo.tiny.cards import write_card
from tgpo.tiny.family import FAMILY, Family, made
from tgpo.tiny.tokenizer import build_tokenizer


def main() -> None:
    parser = Parser(prog="python -m tgpo.tiny", description="Make the tiny models from scratch.")
    parser.add_argument("folder", nargs="?", type=Path, default=TINY_ROOT, help="output folder (default: the package)")
    parser.add_argument(
        "--only", nargs="+", choices=FAMILY, metavar="NAME", help="make only these, from the teacher in the folder"
    )
    args = parser.parse_args()
    root = make_folder(args.folder, "FOLDER")  # an unusable folder must fail now, not after an hour of training
    torch.use_deterministic_algorithms(True)
    tokenizer = build_tokenizer()
    family = Family(tokenizer, kept=root if args.only else None)
    for name in args.only or FAMILY:
        model, folder = made(name, family), root / name
        stored = model.bfloat16() if FAMILY[name].stored == "bfloat16" else model
        stored.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        print(write_card(folder, name, stored.float(), family.teacher, tokenizer), flush=True)


if __name__ == "__main__":
    main()
