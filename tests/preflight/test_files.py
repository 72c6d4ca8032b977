"""Folders that are not what they should be: each one real, made by breaking a real one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM

from tests.compose import composed
from tests.preflight.requests import edit, refused
from tgpo.config.check import check
from tgpo.models.loading import TINY_ROOT, load_model, load_tokenizer, resolve
from tgpo.preflight.checks import preflight


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A hub cache that holds the tiny teacher as org/small, at main and no other revision."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    return Path(shutil.copytree(TINY_ROOT / "teacher", repository / "snapshots" / "0123abcd"))


def test_a_hub_model_in_the_cache(cache):
    assert resolve("org/small") == resolve("org/small", "0123abcd") == str(cache)
    preflight(check(composed("output_dir=unused", "teacher.path=org/small", "teacher.revision=main")))


def test_a_revision_that_is_not_in_the_cache(cache):
    message = refused("teacher.path=org/small", "teacher.revision=v2")
    assert "teacher.revision=v2: the local cache has org/small, and not that revision" in message
    assert "hf download org/small --revision v2" in message


def test_a_revision_of_a_folder(copied):
    assert "is a folder, which has no revisions" in refused(f"teacher.path={copied}", "teacher.revision=v2")
    assert "has no revisions" in refused("student.revision=v2")


def test_a_model_that_is_gated_or_was_never_fetched():
    message = refused("student.path=meta-llama/Llama-3.2-1B")
    assert "config.json, tokenizer, *.safetensors" in message
    assert "hf download meta-llama/Llama-3.2-1B (a gated one after: hf auth login)" in message


def test_a_half_fetched_one_says_what_is_missing(cache):
    (cache / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}}
    (cache / "model.safetensors.index.json").write_text(json.dumps(index))
    message = refused("teacher.path=org/small")
    assert "3 weight files are missing (model-1.safetensors, model-2.safetensors ...)" in message
    assert "hf download org/small" in message
    (cache / "tokenizer.json").unlink()
    (cache / "tokenizer_config.json").unlink()
    assert "no tokenizer there; fetch it with: hf download org/small" in refused("teacher.path=org/small")


@pytest.mark.parametrize("bytes_left", [4, 100, 10_000])
def test_weights_that_are_cut_short(copied, bytes_left):
    """In the length of the header, in the header, in the tensors."""
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:bytes_left])
    assert "model.safetensors is cut short" in refused(f"teacher.path={copied}")


def test_weights_that_are_something_else(copied):
    (copied / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    assert "no safetensors file" in refused(f"teacher.path={copied}")


def test_pickled_weights(copied):
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    message = refused(f"student.path={copied}")
    assert "no model.safetensors there (but pytorch_model.bin)" in message
    assert "can run code and are refused" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_files_that_are_not_json(copied, name, text):
    (copied / name).write_text(text)
    message = refused(f"student.path={copied}")
    assert name in message
    assert "JSON" in message


def test_a_tokenizer_with_code_of_its_own(copied):
    edit(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    assert "tokenizer_config.json: auto_map" in refused(f"student.path={copied}")
    assert "evil" not in sys.modules


def test_a_model_that_does_not_continue_text(tmp_path):
    config = DistilBertConfig(vocab_size=101, dim=8, hidden_dim=8, n_layers=1, n_heads=1, max_position_embeddings=1024)
    DistilBertForMaskedLM(config).save_pretrained(tmp_path)
    load_tokenizer("tiny:teacher").save_pretrained(tmp_path)
    assert "model_type 'distilbert' is no causal language model" in refused(f"student.path={tmp_path}")


def test_a_configuration_that_transformers_cannot_read(copied):
    edit(copied / "config.json", hidden_size="wide")
    message = refused(f"student.path={copied}")
    assert f"student.path={copied}: " in message
    assert "hidden_size" in message


def test_fields_that_are_replaced(tmp_path):
    """They reach the model, its rotary embedding included, and the checkpoint that is saved of it."""
    assert "1024 positions" in refused("rollout.max_response_length=1100", "teacher=none", "objective=grpo")
    rope = {"rope_type": "default", "rope_theta": 40000.0}
    longer = {"max_position_embeddings": 4096, "rope_parameters": rope}
    wider = ["+student.config.max_position_embeddings=4096", "+student.config.rope_parameters.rope_type=default"]
    wider += ["+student.config.rope_parameters.rope_theta=40000.0"]
    options = ["rollout.max_response_length=1100", "teacher=none", "objective=grpo", *wider]
    request = check(composed("output_dir=unused", *options))
    assert request.options.student.config == longer
    preflight(request)

    model = load_model("tiny:large-gap", "float32", "cpu", replaced=longer)
    width = model.config.head_dim
    expected = 40000.0 ** -(torch.arange(0, width, 2) / width)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, expected)
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), "float32", "cpu")
    assert (again.config.max_position_embeddings, again.config.rope_parameters["rope_theta"]) == (4096, 40000.0)
    torch.testing.assert_close(again.model.rotary_emb.inv_freq, expected)


def test_a_field_that_does_not_exist():
    message = refused("+student.config.max_position_embedding=4096")
    assert "'max_position_embedding' is no field of its config.json; did you mean 'max_position_embeddings'?" in message
