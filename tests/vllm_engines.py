"""What the tests of vLLM share; importing it skips the module where vLLM is not installed."""

from __future__ import annotations

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (make setup-vllm)")

from tests.compose import composed
from tgpo.config import VLLMOptions, check

OPTIONS: VLLMOptions = check(composed("output_dir=unused")).options.vllm
