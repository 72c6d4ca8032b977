"""What a model must be to be scored by its output head."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from tgpo.errors import RequestError
from tgpo.models.loading import load_model


def test_logits_that_are_capped_after_the_head_are_refused(tmp_path):
    """Scores are taken from the head, and would be another policy's."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    config = Gemma2Config(vocab_size=64, num_key_value_heads=1, final_logit_softcapping=0.5, **shape)
    model = Gemma2ForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    model.save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="not those of its output head alone"):
        load_model(str(tmp_path), "float32", "cpu")
