"""Where models come from: the tiny ones in this package, a local folder, or the hub's local cache.

Safetensors, no remote code, no downloads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgpo.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TINY_PREFIX = "tiny:"
TINY_ROOT = Path(__file__).parents[1] / "tiny" / "weights"
TEMPLATES = Path(__file__).parents[1] / "templates"


def resolve(path: str, revision: str | None = None) -> str:
    """The folder of a model: one that ships (`tiny:NAME`), or that revision of a hub model in the local cache.

    Anything else comes back unchanged.
    """
    if not path.startswith(TINY_PREFIX):
        snapshot = None if Path(path).is_dir() else cached_snapshot(path, revision)
        return path if snapshot is None else str(snapshot)
    name, shipped = path.removeprefix(TINY_PREFIX), [p.name for p in TINY_ROOT.iterdir() if p.is_dir()]
    if name not in shipped:
        raise RequestError(f"no tiny model is called '{name}'{did_you_mean(name, shipped)}")
    return str(TINY_ROOT / name)


def cached_snapshot(path: str, revision: str | None = None) -> Path | None:
    """The hub model's folder in the local cache, if its configuration is there. Nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(path, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def load_tokenizer(path: str, revision: str | None = None, chat_template: str | None = None) -> Any:
    """`chat_template`: a file, or the name of one that ships; None keeps the tokenizer's own."""
    source = resolve(path, revision)
    tokenizer = tokenizer_class(Path(source)).from_pretrained(source, trust_remote_code=False, local_files_only=True)
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template)
    return tokenizer


def tokenizer_class(folder: Path) -> Any:
    """transformers' plain one where the folder names it: its search for the right one takes a second to import."""
    import transformers

    path, plain = folder / "tokenizer_config.json", transformers.TokenizersBackend.__name__
    named = path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") == plain
    return transformers.TokenizersBackend if named else transformers.AutoTokenizer


def read_template(name: str) -> str:
    shipped = {path.stem: path for path in TEMPLATES.glob("*.jinja")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise RequestError(f"student.chat_template={name}: no such file{did_you_mean(name, shipped)}")
    return path.read_text(encoding="utf-8")


def load_config(path: str, revision: str | None = None, replaced: Mapping[str, Any] | None = None) -> Any:
    """The model's configuration, with the fields that `student.config` or `teacher.config` replace."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(
        resolve(path, revision), trust_remote_code=False, local_files_only=True, **(replaced or {})
    )


def load_model(
    path: str,
    dtype: str,
    device: str | torch.device,
    revision: str | None = None,
    replaced: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """In evaluation mode: dropout would make the sampler and the trainer two different policies.

    Args:
        replaced: fields of its configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run has one of its own
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        resolve(path, revision),
        config=load_config(path, revision, replaced),
        dtype=getattr(torch, dtype),
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    model, told = loaded
    if missing := sorted(told["missing_keys"]):  # transformers would go on with random ones
        raise RequestError(f"{path}: {len(missing)} of its weights are not in its files ({missing[0]}); fetch it again")
    model = model.to(device).eval()
    check_plain_head(model, path)
    return model


def check_plain_head(model: Any, path: str) -> None:
    """Its logits are its output head's: no soft-capping or scaling comes after, which scores by the head would miss."""
    import torch

    ids = torch.arange(8, device=model.device)[None]
    with torch.no_grad():
        whole, hidden = model(ids).logits, model.get_decoder()(ids, use_cache=False).last_hidden_state
        if not whole.isfinite().all():
            raise RequestError(f"{path}: its logits are not finite: a weight of it is NaN or infinite")
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


def eos_ids(model: PreTrainedModel, tokenizer: Any, also: Sequence[str] = ()) -> tuple[int, ...]:
    """Every id that ends a response: the tokenizer's, those of the model's generation settings, the tokens `also`."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return tuple(sorted({i for i in ids if i is not None} | {tokenizer.get_vocab()[token] for token in also}))
