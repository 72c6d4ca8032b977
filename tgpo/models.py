"""Where models come from: the tiny ones in this package, a local folder, or the hub's local cache.

Safetensors, no remote code, no downloads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgpo.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TINY_PREFIX = "tiny:"
TINY_ROOT = Path(__file__).parent / "tiny" / "weights"


def resolve(path: str) -> str:
    """`tiny:NAME` -> the folder of a model that ships with the package; anything else unchanged."""
    if not path.startswith(TINY_PREFIX):
        return path
    name, shipped = path.removeprefix(TINY_PREFIX), [p.name for p in TINY_ROOT.iterdir() if p.is_dir()]
    if name not in shipped:
        raise RequestError(f"no tiny model is called '{name}'{did_you_mean(name, shipped)}")
    return str(TINY_ROOT / name)


def load_tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve(path), trust_remote_code=False, local_files_only=True)


def load_model(path: str, dtype: str, device: str | torch.device) -> PreTrainedModel:
    """In evaluation mode: dropout would make the sampler and the trainer two different policies."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run has one of its own
    model: Any = AutoModelForCausalLM.from_pretrained(
        resolve(path),
        dtype=getattr(torch, dtype),
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    model = model.to(device).eval()
    check_plain_head(model, path)
    return model


def check_plain_head(model: Any, path: str) -> None:
    """Its logits are its output head's: no soft-capping or scaling comes after, which scores by the head would miss."""
    import torch

    ids = torch.arange(8, device=model.device)[None]
    with torch.no_grad():
        whole, hidden = model(ids).logits, model.get_decoder()(ids, use_cache=False).last_hidden_state
        apart = (model.get_output_embeddings()(hidden).float() - whole.float()).abs().max()
    if not apart <= 1e-2 * whole.float().abs().max():
        raise RequestError(f"{path}: its logits are not those of its output head alone, which is not supported")


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is any."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def master(dtype: str) -> str:
    """The type weights are trained in: in bfloat16 itself, a step of 1e-6 would round to nothing."""
    return "float32" if dtype == "bfloat16" else dtype


def precision(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """Forward passes in bfloat16 over the weights' own type; in that type for anything else."""
    import torch

    return torch.autocast(device.type, getattr(torch, dtype), enabled=dtype == "bfloat16")


def eos_ids(model: PreTrainedModel, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends a response: the tokenizer's, and those the model's generation settings add."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return tuple(sorted(i for i in ids if i is not None))
