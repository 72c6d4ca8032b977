"""Measures the memory that the output head of a large vocabulary needs: `make bench`.

Each row is measured in a process of its own. It holds a random head of 151,936 x 896, hidden states of one response of
4,096 tokens, and what the objective needs from the teacher; then it computes the loss and its gradients once. The peak
is that of the process (VmHWM, reset before) above what it held, without the head's gradient, which every side has to
produce. A side that needs more memory than the machine has free is reported as such.
Ours is `tgpo.models.policy.Policy` and the objective as a run builds them; "whole" computes the same over all logits at
once, with autograd alone; TRL's is the function its trainer calls. Gradients of ours and of "whole" are compared.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import HERE, setting, write_results
from tgpo.config.compose import request_from
from tgpo.functional.reduce import reduce, token_weights
from tgpo.models.policy import Policy
from tgpo.objectives.base import Objective
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal

VOCABULARY, LENGTH, WIDTH = 151_936, 4_096, 896
CHECKED = 512  # tokens of the response on which gradients are compared
BARS = {"tgpo": 0.6, "rkl": 0.6, "kdrl": 0.6, "sft": 0.6, "luffy": 0.6, "fkl": 1.2, "gkd": 1.2}  # GB
OBJECTIVES = ["grpo", *BARS]
SIDES = ["ours", "whole", "trl"]
MAX_LOGITS = 2**24  # train.max_logits of conf/train


class Given(nn.Module):
    """A model whose decoder has already run: it has random hidden states, and a head."""

    def __init__(self, length: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.hidden_BSH = nn.Parameter(torch.randn(1, length + 1, width))
        self.device = self.hidden_BSH.device
        self.head = nn.Linear(width, vocabulary, bias=False)

    def get_decoder(self) -> Callable[..., Any]:
        return lambda ids, use_cache: SimpleNamespace(last_hidden_state=self.hidden_BSH)

    def get_output_embeddings(self) -> nn.Linear:
        return self.head


def batch_for(objective: Objective, length: int, width: int, vocabulary: int) -> ScoredBatch:
    """Returns a batch of one response, with everything that the objective needs drawn at random."""
    grid, needs = (1, length), objective.needs
    topk = max(objective.teacher_topk, 1)
    best_BTK = torch.randn(*grid, topk).log_softmax(-1)
    teacher_head = (
        nn.Linear(width, vocabulary, bias=False).requires_grad_(False) if Need.TEACHER_FULL in needs else None
    )
    everything = TeacherSignal(
        sampled_logprobs_BT=-torch.rand(grid),
        topk_ids_BTK=torch.randint(vocabulary, (*grid, topk)),
        topk_logprobs_BTK=best_BTK,
        hidden_BTH=torch.randn(*grid, width) if teacher_head else None,
        head=teacher_head,
    )
    tokens = TokenBatch(
        torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.long),
        torch.randint(vocabulary, grid), torch.ones(grid),
    )  # fmt: skip
    return ScoredBatch(
        tokens,
        group_B=torch.zeros(1, dtype=torch.long),
        off_policy_B=torch.tensor([Need.DEMONSTRATION in needs]),
        reward_B=torch.ones(1) if Need.REWARD in needs else None,
        old_logprobs_BT=-torch.rand(grid) if Need.OLD_LOGPROBS in needs else None,
        old_at_teacher_topk_BTK=best_BTK if Need.OLD_AT_TEACHER_TOPK in needs else None,
        teacher=everything.narrow(needs, topk),
        max_response_length=length,
    )


def our_loss(objective: Objective, model: Given, batch: ScoredBatch, max_logits: int, dtype: str = "float32") -> Tensor:
    policy = Policy(model, model.head.out_features, max_logits, dtype)  # pyright: ignore[reportArgumentType]
    credit = objective.credit(batch, 1)
    if credit.advantage_BT is not None:  # it is 0 in a group of one, so other values are put in its place
        spread_BT = torch.linspace(-1, 1, batch.mask_BT.shape[1], device=batch.mask_BT.device)[None]
        credit = replace(credit, advantage_BT=spread_BT)
    student = policy(batch.tokens, batch.teacher, 0, objective.divergence)
    weights_BT = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    return reduce(objective.loss(student, batch, credit).loss_BT, weights_BT)


def trl_loss(name: str, model: Given, batch: ScoredBatch) -> Tensor | None:
    """Returns TRL's loss: distillation, or the policy gradient of its GRPO; None for objectives that it lacks."""
    hidden_BTH, mask_BT = model.hidden_BSH[:, :-1], batch.mask_BT
    beta = {"fkl": 0.0, "gkd": 0.5, "rkl": 1.0}.get(name)
    if beta is not None:
        from trl.trainer.distillation_trainer import _chunked_divergence_loss

        teacher_BTH = torch.randn_like(hidden_BTH)
        given_head = batch.teacher.head if batch.teacher is not None else None  # absent where ours does not need it
        teacher_head = given_head.weight if isinstance(given_head, nn.Linear) else torch.randn_like(model.head.weight)
        return _chunked_divergence_loss(hidden_BTH, teacher_BTH, model.head.weight, teacher_head, mask_BT, beta)[0]
    if name == "grpo":
        from trl.trainer.utils import selective_log_softmax

        logprobs_BT = selective_log_softmax(model.head(hidden_BTH), batch.tokens.response_BT)
        return -(torch.exp(logprobs_BT - logprobs_BT.detach()) * mask_BT).sum() / mask_BT.sum()
    return None


def measure(side: str, name: str) -> dict[str, float]:
    """Returns peak bytes above what was held, and seconds; for ours also the gradients' largest distance from `whole`.

    The distance is relative. Where memory runs out, the result is `more_than_bytes` instead.
    """
    available = memory("MemAvailable", Path("/proc/meminfo"))
    # without this limit the kernel kills some process, not always this one
    resource.setrlimit(resource.RLIMIT_DATA, (available, available))
    try:
        return measured(side, name)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        return {"more_than_bytes": available}


def measured(side: str, name: str) -> dict[str, float]:
    torch.manual_seed(0)
    objective = request_from([f"objective={name}"]).objective
    model, batch = Given(LENGTH, WIDTH, VOCABULARY), batch_for(objective, LENGTH, WIDTH, VOCABULARY)
    gc.collect()
    held = reset_peak()
    started = time.perf_counter()
    loss = trl_loss(name, model, batch) if side == "trl" else our_loss(objective, model, batch, limit(side))
    assert loss is not None
    loss.backward()
    seconds = time.perf_counter() - started
    result = {"peak_bytes": memory("VmHWM") - held - bytes_of(model.head.weight), "seconds": seconds}
    if side == "ours":
        result["gradient_difference"] = gradient_difference(objective)
    return result


def gradient_difference(
    objective: Objective, length: int = CHECKED, width: int = WIDTH, vocabulary: int = VOCABULARY
) -> float:
    """Returns the largest relative distance of gradients from those over all logits at once, on a shorter response."""
    model, batch = Given(length, width, vocabulary), batch_for(objective, length, width, vocabulary)
    gradients = []
    for max_logits in (length * vocabulary // 8, length * vocabulary):
        our_loss(objective, model, batch, max_logits).backward()
        gradients.append([p.grad for p in model.parameters()])
        model.zero_grad()
    return max(float((a - b).norm() / b.norm()) for a, b in zip(*gradients, strict=True))


def limit(side: str) -> int:
    return MAX_LOGITS if side == "ours" else VOCABULARY * LENGTH


def bytes_of(x: Tensor) -> int:
    return x.numel() * x.element_size()


def reset_peak() -> int:
    """Resets the process's peak memory to what it holds now, and returns that."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str, file: Path = Path("/proc/self/status")) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def rows(objectives: list[str]) -> list[dict[str, Any]]:
    results = []
    for name in objectives:
        for side in SIDES:
            if side == "trl" and name not in ("grpo", "rkl", "fkl", "gkd"):
                continue
            command = [sys.executable, "-m", "benchmarks.head_memory", "--measure", side, name]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            results.append({"objective": name, "side": side, "bar_gb": BARS.get(name), **json.loads(output)})
            print(results[-1], flush=True)
    return results


def together(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows with those of other objectives from the last results, in the order of `OBJECTIVES`."""
    file = HERE / "results" / "head_memory.json"
    before = json.loads(file.read_text())["rows"] if file.is_file() else []
    again = {row["objective"] for row in measured}
    return sorted([*(row for row in before if row["objective"] not in again), *measured],
                  key=lambda row: OBJECTIVES.index(row["objective"]))  # fmt: skip


def table(record: dict[str, Any]) -> str:
    """Returns the README's rows, from the JSON."""
    by_cell = {(row["objective"], row["side"]): row for row in record["rows"]}
    lines = [
        "| objective | ours, GB | asked for | all logits at once | TRL | seconds: ours | at once | TRL | gradient |",
        "| --- " * 9 + "|",
    ]
    for name in dict.fromkeys(row["objective"] for row in record["rows"]):
        cells = [by_cell.get((name, side)) for side in SIDES]
        peaks = [peak(cell) if cell else "" for cell in cells]
        seconds = [f"{cell['seconds']:.0f}" if cell and "seconds" in cell else "" for cell in cells]
        bar = f"{BARS[name]} " if name in BARS else ""
        difference = f"{by_cell[name, 'ours']['gradient_difference']:.0e}"
        lines.append("| " + " | ".join([f"`{name}`", peaks[0], bar, *peaks[1:], *seconds, difference]) + " |")
    return "\n".join(lines) + "\n"


def peak(cell: dict[str, Any]) -> str:
    found = cell.get("peak_bytes")
    return f"{found / 1e9:.2f}" if found else f"more than {cell['more_than_bytes'] / 1e9:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.head_memory", description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "OBJECTIVE"), help="one line alone, as JSON")
    parser.add_argument("objectives", nargs="*", help=f"to measure again, of {', '.join(OBJECTIVES)}: all by default")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    record = {
        **setting(
            f"head {VOCABULARY} x {WIDTH}, one response of {LENGTH} tokens, float32", "torch", "transformers", "trl"
        ),
        "rows": together(rows(arguments.objectives or OBJECTIVES)),
    }
    write_results("head_memory", record, table(record))


if __name__ == "__main__":
    main()
