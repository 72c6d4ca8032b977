"""Loads models and tokenizers from this package (the tiny ones), a local folder, or the hub's local cache.

Safetensors only, no remote code, no downloads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgpo.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TINY_PREFIX = "tiny:"
TINY_ROOT = Path(__file__).parents[1] / "tiny" / "weights"
CLOCK = "strftime_now"  # transformers' function for templates
TEMPLATES = Path(__file__).parents[1] / "templates"


def resolve(path: str, revision: str | None = None) -> str:
    """Returns the folder of a model: one of this package (`tiny:NAME`), or that revision of a hub model in the local
    cache. Any other path is returned unchanged.
    """
    if not path.startswith(TINY_PREFIX):
        snapshot = None if Path(path).is_dir() else cached_snapshot(path, revision)
        return path if snapshot is None else str(snapshot)
    name, shipped = path.removeprefix(TINY_PREFIX), [p.name for p in TINY_ROOT.iterdir() if p.is_dir()]
    if name not in shipped:
        raise RequestError(f"no tiny model is called '{name}'{did_you_mean(name, shipped)}")
    return str(TINY_ROOT / name)


def cached_snapshot(path: str, revision: str | None = None) -> Path | None:
    """Returns the hub model's folder in the local cache if its configuration is there. Nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(path, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def load_tokenizer(
    path: str,
    revision: str | None = None,
    chat_template: str | None = None,
    date: str | None = None,
    option: str = "student.chat_template",
    variables: Mapping[str, Any] | None = None,
) -> Any:
    """Returns the tokenizer. `chat_template` is a file, or the name of a template in this package; None keeps the
    tokenizer's own; `option` is where it was given. `date` is the ISO date that the template is told if it asks for the
    time; None for the clock's. `variables` are further ones that every rendering gives the template."""
    source = resolve(path, revision)
    tokenizer = tokenizer_class(Path(source)).from_pretrained(source, trust_remote_code=False, local_files_only=True)
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template, option)
    bound = dict(variables or {})
    if date is not None:  # a variable of the template has precedence over transformers' function of this name
        bound["strftime_now"] = datetime.fromisoformat(date).strftime
    if bound:
        tokenizer.apply_chat_template = partial(tokenizer.apply_chat_template, **bound)
    return tokenizer


def asks_for_the_time(path: str, revision: str | None = None, chat_template: str | None = None) -> bool:
    """Returns whether the chat template of a model on this machine depends on the clock. Nothing is loaded."""
    if chat_template is not None:
        return CLOCK in read_template(chat_template)
    files = (Path(resolve(path, revision)) / name for name in ("chat_template.jinja", "tokenizer_config.json"))
    return any(CLOCK in file.read_text(encoding="utf-8") for file in files if file.is_file())


def tokenizer_class(folder: Path) -> Any:
    """Returns transformers' plain class if the folder names it, else AutoTokenizer, which takes a second to import."""
    import transformers

    path, plain = folder / "tokenizer_config.json", transformers.TokenizersBackend.__name__
    named = path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") == plain
    return transformers.TokenizersBackend if named else transformers.AutoTokenizer


def read_template(name: str, option: str = "student.chat_template") -> str:
    shipped = {path.stem: path for path in TEMPLATES.glob("*.jinja")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise RequestError(f"{option}={name}: no such file{did_you_mean(name, shipped)}")
    return path.read_text(encoding="utf-8")


def load_config(path: str, revision: str | None = None, replaced: Mapping[str, Any] | None = None) -> Any:
    """Returns the model's configuration, with the fields that `student.config` or `teacher.config` replace."""
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
    """Returns the model in evaluation mode: with dropout, the sampler and the trainer would be two different policies.

    Raises RequestError if weights are missing from the files, or if `check_plain_head` refuses the model.

    Args:
        replaced: fields of the model's configuration that are replaced.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run prints its own
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
    model, loading_info = loaded
    if missing := sorted(loading_info["missing_keys"]):  # transformers would initialise them at random
        raise RequestError(f"{path}: {len(missing)} of its weights are not in its files ({missing[0]}); fetch it again")
    model = model.to(device).eval()
    check_plain_head(model, path)
    return model


def check_plain_head(model: Any, path: str) -> None:
    """Raises RequestError if the model's logits are not finite, or not the output of its head alone.

    Scores are computed from the head, and would miss soft-capping or scaling that a model applies after it.
    """
    import torch

    ids = torch.arange(8, device=model.device)[None]
    with torch.no_grad():
        logits, hidden = model(ids).logits, model.get_decoder()(ids, use_cache=False).last_hidden_state
        if not logits.isfinite().all():
            raise RequestError(f"{path}: its logits are not finite: a weight of it is NaN or infinite")
        difference = (model.get_output_embeddings()(hidden).float() - logits.float()).abs().max()
    if not difference <= 1e-2 * logits.float().abs().max():
        raise RequestError(f"{path}: its logits are not those of its output head alone, which is not supported")


def pick_device(name: str) -> torch.device:
    """Returns the device; `auto` is CUDA if available, otherwise the CPU."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def master(dtype: str) -> str:
    """Returns the type that weights are trained in: float32 in place of bfloat16, where a step of 1e-6 rounds to 0."""
    return "float32" if dtype == "bfloat16" else dtype


def precision(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """Returns a context for forward passes: in bfloat16 they use autocast; with any other type it changes nothing."""
    import torch

    return torch.autocast(device.type, getattr(torch, dtype), enabled=dtype == "bfloat16")


def eos_ids(model: PreTrainedModel, tokenizer: Any, also: Sequence[str] = ()) -> tuple[int, ...]:
    """Returns the ids that end a response: the tokenizer's, those of the generation settings, the tokens in `also`."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return tuple(sorted({i for i in ids if i is not None} | {tokenizer.get_vocab()[token] for token in also}))
