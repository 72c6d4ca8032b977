"""Checks of the models' folders: files are complete and readable, and contain data only, no code."""

from __future__ import annotations

import json
import re
from math import prod
from pathlib import Path
from typing import Any

from tgpo.errors import RequestError, did_you_mean, first_line
from tgpo.models.loading import TINY_PREFIX, cached_snapshot, resolve
from tgpo.preflight.look import STUDENT, Inspection, Role
from tgpo.preflight.memory import on_meta

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
LONGEST_CAUSE = 200  # characters that are quoted of transformers' error message about a configuration
INDEX = "model.safetensors.index.json"
HUB_NAME = r"[\w.-]+(/[\w.-]+)?"
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


def check_files(look: Inspection, role: Role) -> str | None:
    """Checks that the model is on this machine, has a tokenizer and brings no code. A run never downloads anything."""
    options = look.model(role)
    if role != STUDENT and look.teachers[role].options.backend == "server":
        return None
    assert options.path is not None
    key, folder = f"{role}.path={options.path}", find_folder(role, options.path, options.revision)
    if not (folder / "config.json").is_file():
        raise RequestError(f"{key}: no config.json there; give the folder that from_pretrained would load")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        fix = "save the tokenizer into the same folder"
        if Path(resolve(options.path)) != Path(options.path):
            fix = f"fetch it with: {fetch(options.path, options.revision)}"
        raise RequestError(f"{key}: no tokenizer there; {fix}")
    for name in ("config.json", *TOKENIZER_FILES):
        if (folder / name).is_file() and "auto_map" in read_object(key, folder / name):
            raise RequestError(f"{key}: this model brings code of its own to run ({name}: auto_map), which is refused")
    look.folders[role] = folder
    return f"{options.path}, no code of its own"


def check_weights(look: Inspection, role: Role) -> str | None:
    """Checks that the weights are safetensors files, none of which is missing or truncated."""
    if role not in look.folders:
        return None
    options, folder = look.model(role), look.folders[role]
    assert options.path is not None
    shards = shards_of(f"{role}.path={options.path}", folder, fetch(options.path, options.revision))
    look.shapes[role] = read_shapes(f"{role}.path={options.path}", shards)
    look.parameters[role] = sum(map(prod, look.shapes[role].values()))
    return f"{len(shards)} safetensors of {look.parameters[role] / 1e9:.3g}B parameters"


def find_folder(role: Role, path: str, revision: str | None) -> Path:
    folder = Path(resolve(path, revision))
    if folder.is_dir():
        if revision is not None and (path.startswith(TINY_PREFIX) or Path(path).is_dir()):
            raise RequestError(f"{role}.revision={revision}: {path} is a folder, which has no revisions; leave it null")
        return folder
    if not re.fullmatch(HUB_NAME, path):
        raise RequestError(f"{role}.path={path}: no such folder, and not the name of a hub model either")
    if revision is not None and cached_snapshot(path) is not None:
        raise RequestError(
            f"{role}.revision={revision}: the local cache has {path}, and not that revision; fetch it with: "
            f"{fetch(path, revision)}"
        )
    raise RequestError(
        f"{role}.path={path}: no such folder, and no such model in the local cache (config.json, tokenizer, "
        f"*.safetensors); fetch it with: {fetch(path, revision)} (a gated one after: hf auth login)"
    )


def fetch(path: str, revision: str | None) -> str:
    return f"hf download {path}" + ("" if revision is None else f" --revision {revision}")


def read_object(key: str, path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; raises RequestError if it holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RequestError(f"{key}: {path.name} there is not JSON ({first_line(error)}); fetch it again") from error
    if not isinstance(content, dict):
        raise RequestError(f"{key}: {path.name} there holds no JSON object; fetch it again")
    return content


def shards_of(key: str, folder: Path, how: str) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        names = read_object(key, index).get("weight_map")
        if not isinstance(names, dict):
            raise RequestError(f"{key}: {INDEX} there names no weights; fetch it again")
        shards = [folder / name for name in sorted(set(names.values()))]
        if missing := [shard.name for shard in shards if not shard.is_file()]:
            named = ", ".join(missing[:2]) + (" ..." if len(missing) > 2 else "")
            raise RequestError(f"{key}: {len(missing)} weight files are missing ({named}); fetch them with: {how}")
        return shards
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    others = sorted(path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern))
    hint = f" (but {others[0]})" if others else ""
    raise RequestError(
        f"{key}: no model.safetensors there{hint}; fetch it with: {how}, or save it so: other formats can run code "
        "and are refused"
    )


def read_shapes(key: str, shards: list[Path]) -> dict[str, tuple[int, ...]]:
    """Returns each weight's shape, from the files' headers, which also say how long each file must be."""
    from safetensors import SafetensorError, safe_open

    shapes = {}
    for shard in shards:
        try:
            with safe_open(shard, framework="np") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise RequestError(
                f"{key}: {shard.name} is cut short or no safetensors file ({first_line(error)}); fetch it again"
            ) from error
    return shapes


def check_config(look: Inspection, role: Role) -> str | None:
    """Checks that transformers knows the architecture, that it is a causal language model, and that the fields which
    `config` replaces exist."""
    options = look.model(role)
    if role not in look.folders:
        return None
    key = f"{role}.path={options.path}"
    try:
        config = look.read_config(role)
    except Exception as error:  # transformers and huggingface_hub raise many kinds, some over several lines
        raise RequestError(f"{key}: {' '.join(str(error).split())[:LONGEST_CAUSE]}") from error

    if not is_causal(config):
        raise RequestError(f"{key}: model_type '{config.model_type}' is no causal language model")
    known = config.to_dict()
    if unknown := [name for name in options.config if name not in known]:
        raise RequestError(
            f"{role}.config: '{unknown[0]}' is no field of its config.json{did_you_mean(unknown[0], known)}"
        )
    replaced = "".join(f", {name} replaced by {value}" for name, value in options.config.items())
    return f"{config.model_type}, {getattr(config, 'max_position_embeddings', 'any number of')} positions{replaced}"


def check_fit(look: Inspection, role: Role) -> str | None:
    """Checks that the weights' shapes in the files are those of the model that the configuration describes.

    The model is built without allocating weights. Weights whose names are not the model's (it may assemble one from
    several in the files) are not compared; loading reports what is missing. `lora.targets` must name its modules.
    """
    options = look.model(role)
    if role not in look.configs or role not in look.shapes:
        return None
    key = f"{role}.path={options.path}"
    try:
        model = on_meta(look.configs[role])
    except Exception as error:  # an invalid field can cause any error in a model's code
        raise RequestError(f"{key}: its config.json describes no model ({first_line(error)})") from error
    described = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    for name, shape in look.shapes[role].items():
        if described.get(name, shape) != shape:
            raise RequestError(
                f"{key}: {name} is {list(shape)} in its files and {list(described[name])} by its configuration"
            )
    targets = look.options.lora.targets if role == STUDENT and look.options.lora.rank else "all-linear"
    names = [name for name, _ in model.named_modules()]
    for target in targets if isinstance(targets, list) else ():
        if not any(name == target or name.endswith(f".{target}") for name in names):
            last = {name.rpartition(".")[2] for name in names if not name.rpartition(".")[2].isdigit()} - {""}
            raise RequestError(f"lora.targets: '{target}' is no module of {options.path}{did_you_mean(target, last)}")
    return f"{len(look.shapes[role])} weights of the shapes that its configuration describes"


def is_causal(config: Any) -> bool:
    """Returns whether the class that saved the weights is a causal language model; if the configuration does not name
    one, whether transformers lists the model type as such (importing that list takes a second)."""
    if any(name.endswith("ForCausalLM") for name in config.architectures or ()):
        return True

    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
