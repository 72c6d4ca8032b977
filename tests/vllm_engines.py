"""What the tests of vLLM share; importing it skips the module where vLLM is not installed."""

from __future__ import annotations

import pytest

from tests.compose import composed
from tgpo.config.check import check
from tgpo.options import VLLMOptions

vllm = pytest.importorskip("vllm", reason="vLLM is not installed (make setup-vllm)")

OPTIONS: VLLMOptions = check(composed("output_dir=unused")).options.vllm
KEPT = []


class KeptLLM(vllm.LLM):
    """The engines of a process share global state, and one that is collected takes it from the others: none is."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        KEPT.append(self)


vllm.LLM = KeptLLM
