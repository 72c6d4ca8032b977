"""A copy of the tiny teacher to break, and one whose tokenizer goes on where the student's ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tgpo.models.loading import TINY_ROOT, load_model, load_tokenizer


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(TINY_ROOT / "teacher", tmp_path / "model"))


@pytest.fixture(scope="session")
def longer(tmp_path_factory) -> Path:
    """The tiny teacher with `<think>` and `</think>` after the 101 tokens, as Qwen3 beside Qwen2.5.

    Their rows are those of two digits, a little larger: where the teacher is sure of the digit, they have half of it.
    """
    import torch

    folder = tmp_path_factory.mktemp("longer")
    model, tokenizer = load_model("tiny:teacher", "float32", "cpu"), load_tokenizer("tiny:teacher")
    tokenizer.add_tokens(["<think>", "</think>"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        digits = [tokenizer.get_vocab()[digit] for digit in "12"]
        head[101:] = 1.01 * head[digits]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
