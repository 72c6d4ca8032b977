"""Files and folders that are not what they should be, each real and made by breaking a real one."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file, save_file

from tests.compose import composed
from tests.hub import FIXTURES
from tests.preflight.requests import edit
from tgpo.config.check import check
from tgpo.models.loading import TINY_ROOT


class Places:
    """Makes what a `{name}` stands for, each by itself, so that a case can be shown to have changed none."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self, text: str) -> str:
        return re.sub(r"(?<!\$)\{([a-z_0-9]+)\}", lambda found: str(self.of(found[1])), text)

    def of(self, name: str) -> Path:
        if name == "aime25":
            return FIXTURES / "aime25" / "test.jsonl"
        path = self.root / (f"{name}.jsonl" if name.startswith("rows") else name)
        if not path.exists():
            MADE[name](path)
        return path


def model(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """The tiny teacher after one change."""

    def make(path: Path) -> None:
        shutil.copytree(TINY_ROOT / "teacher", path)
        change(path)

    return make


def weights(content: bytes | None) -> Callable[[Path], None]:
    """`None` is a folder of that name."""

    def change(path: Path) -> None:
        file = path / "model.safetensors"
        file.unlink()
        file.mkdir() if content is None else file.write_bytes(content)

    return model(change)


def narrowed(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    save_file({**tensors, "lm_head.weight": tensors["lm_head.weight"][:5].copy()}, path / "model.safetensors")


def pickled(path: Path) -> None:
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def other_tokenizer(path: Path) -> None:
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text.replace('"a": 15', '"@": 15').replace('"@": 88', '"a": 88'))


def run(
    config: bytes | Callable[[dict[str, Any]], object] = lambda _: None,
    status: str | None = '{"status": "failed", "step": 1}',
    metrics: str | None = "",
) -> Callable[[Path], None]:
    """A run's folder without a checkpoint: the default's configuration, changed or replaced."""

    def make(path: Path) -> None:
        path.mkdir()
        if isinstance(config, bytes):
            content = config
        else:
            resolved = check(composed(f"output_dir={path}")).resolved
            config(resolved)
            content = yaml.safe_dump(resolved).encode()
        (path / "config.yaml").write_bytes(content)
        if status is not None:
            (path / "status.json").write_text(status)
        if metrics is None:
            (path / "metrics.jsonl").mkdir()
        else:
            (path / "metrics.jsonl").write_text(metrics)

    return make


def file(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def folder(**files: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / f"{name}.json").write_text(content)

    return make


TRAIN = json.dumps({"kind": "train", "step": 1}) + "\n"
MADE: dict[str, Callable[[Path], object]] = {
    "empty": folder(),
    "file": file(b"a line\n"),
    "template": file(b"{{ broken"),
    "pickled": model(pickled),
    "remote_code": model(lambda p: edit(p / "config.json", auto_map={"AutoModelForCausalLM": "evil.Model"})),
    "weights_folder": weights(None),
    "weights_empty": weights(b""),
    "weights_short": weights((TINY_ROOT / "teacher" / "model.safetensors").read_bytes()[:10_000]),
    "weights_narrow": model(narrowed),
    "config_binary": model(lambda p: (p / "config.json").write_bytes(b"\xff\xfe\0")),
    "config_no_heads": model(lambda p: edit(p / "config.json", num_attention_heads=0)),
    "config_negative": model(lambda p: edit(p / "config.json", vocab_size=-5)),
    "tokenizer_empty": model(lambda p: (p / "tokenizer.json").write_text("{}")),
    "tokenizer_other": model(other_tokenizer),
    "run": run(),
    "run_cut": run(metrics=TRAIN + '{"kind": "tr'),
    "run_emptied": run(status='{"status": "done", "step": 100}', metrics='{"kind": "train", "step": 100}\n'),
    "run_of_later_version": run(lambda resolved: resolved.update(foo=1)),
    "run_of_earlier_version": run(lambda resolved: resolved.pop("train")),
    "config_broken": run(b"a: [1,"),
    "config_empty": run(b""),
    "config_list": run(b"- 1\n"),
    "config_bytes": run(b"\xff\xfe\x81"),
    "config_that_calls": run(lambda resolved: resolved["task"].update(_target_="os.system")),
    "records_broken": run(metrics='{"kind": "tr\n' + TRAIN),
    "records_without_step": run(metrics='{"kind": "train"}\n'),
    "records_of_words": run(metrics='{"kind": "eval", "step": 0, "eval/a/accuracy": "x"}\n'),
    "records_folder": run(metrics=None),
    "status_broken": run(status="nonsense", metrics=TRAIN),
    "sweep_broken": folder(sweep="{"),
    "sweep_odd": folder(sweep="{}"),
    "recipe_broken": folder(recipe="{"),
    "rows": file(b'{"q": "1+1", "a": "2"}\n' * 5),
    "rows_unanswered": file(b'{"q": "1+1", "a": ""}\n' * 5),
    "rows_empty": file(b""),
    "rows_broken": file(b"hello\n"),
    "rows_binary": file(b"\x80\x81\xff\0"),
    "rows_of_fields": file(b'{"prompt": "1+1", "answer": {"style": "rule", "ground_truth": "2"}}\n' * 5),
    "rows_of_truth": file(b'{"prompt": "1+1", "answer": true}\n' * 5),
    "rows_of_turns": file(b'{"prompt": [{"from": "human", "value": "1+1"}], "answer": "2"}\n' * 5),
    "rows_like_verl": file(b'{"prompt": "1+1", "reward_model": {"style": "rule", "ground_truth": "2"}}\n' * 5),
    "rows_like_numina": file(b'{"problem": "1+1", "solution": "So \\\\boxed{2}."}\n' * 5),
}
