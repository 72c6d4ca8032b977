"""`python -m experiments.enumerable` computes every objective's exact gradient noise in the world of `tests/laws`.

Nothing is sampled: all groups of two responses, with a vocabulary of 3 and a horizon of 3, are enumerated with their
probabilities. It writes results/enumerable/noise.csv and the table in docs/objectives.md; `make docs` calls it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tests.laws.variants import VARIANTS, build
from tests.laws.world import T, V, World, every_group, group_losses, logits_of, table, token_losses
from tgpo.errors import Parser
from tgpo.report.markdown import fill
from tgpo.runs.files import write_whole
from tgpo.types.problem import Need
from tgpo.types.teacher import TeacherSignal

ROOT = Path(__file__).parents[2]
RESULTS, DOCS = ROOT / "results" / "enumerable", ROOT / "docs" / "objectives.md"
# three teachers: the student's logits with a small change, other logits, and those logits three times as large
GAPS = {"near": table(0) + 0.3 * table(1), "other": table(1), "far": 3 * table(1)}


def gradients(values_N: Tensor, policy: Tensor) -> Tensor:
    """Returns the gradient of each value on its own, `[N, parameters]`."""
    each_N = torch.eye(len(values_N), dtype=values_N.dtype)
    (gradient,) = torch.autograd.grad(values_N, policy, each_N, is_grads_batched=True, retain_graph=True)
    return gradient.flatten(1)


def noise(variant: str, world: World) -> dict[str, float]:
    """Returns the gradient's signal, noise and signal-to-noise ratio for a group of two.

    `signal` is the norm of the expected gradient, `noise` the root of its variance's trace.
    """
    objective = build(variant)
    loss_G, probability_G = group_losses(objective, world)
    gradient_GP = gradients(loss_G, world.policy)
    mean_P = probability_G @ gradient_GP
    variance = float(probability_G @ gradient_GP.square().sum(1) - mean_P.square().sum())
    if Need.TEACHER_SAMPLE in objective.needs:
        variance += draw_variance(objective, world)
    signal = float(mean_P.norm())
    return {"signal": signal, "noise": max(variance, 0.0) ** 0.5, "snr": signal**2 / variance}


def draw_variance(objective, world: World) -> float:
    """Returns the variance that the teacher's draws of tokens add; given the responses, they are independent."""
    batch, probability_G = every_group(objective, world)
    teacher, rows = batch.teacher or TeacherSignal(), len(batch.mask_BT) // len(probability_G)
    share_NV = logits_of(world.teacher, batch.tokens.response_BT).softmax(-1).flatten(0, 1)
    mean_NP, square_N = torch.zeros(()), torch.zeros(())
    for token in range(V):
        assert teacher.sample_ids_BT is not None
        drawn = torch.full_like(teacher.sample_ids_BT, token)
        loss_BT = token_losses(objective, world, batch_with(batch, drawn))
        gradient_NP = gradients(loss_BT.flatten(), world.policy) / (rows * T)
        mean_NP = mean_NP + share_NV[:, token, None] * gradient_NP
        square_N = square_N + share_NV[:, token] * gradient_NP.square().sum(1)
    of_a_token_N = square_N - mean_NP.square().sum(1)
    return float(probability_G @ of_a_token_N.view(len(probability_G), -1).sum(1))


def batch_with(batch, drawn_BT: Tensor):
    return replace(batch, teacher=replace(batch.teacher, sample_ids_BT=drawn_BT))


def measure() -> pd.DataFrame:
    rows = []
    for gap, teacher in GAPS.items():
        world = World(table(0).requires_grad_(True), teacher)
        kl = float(world.reverse_kl.detach())
        rows += [{"objective": v, "gap": gap, "reverse KL": kl, **noise(v, world)} for v in VARIANTS]
    return pd.DataFrame(rows)


def markdown(found: pd.DataFrame) -> str:
    """Returns a row per objective or variant: for each teacher, signal, noise and signal over noise."""
    kl = found.groupby("gap")["reverse KL"].first()
    heads = [f"{gap} ({kl[gap]:.2f} nats)" for gap in GAPS]
    lines = [f"| objective | {' | '.join(heads)} |", "| --- " * (1 + len(GAPS)) + "|"]
    for objective, rows in found.groupby("objective", sort=False):
        name, *options = str(objective).split()
        label = f"`{name}`" + (f" {' '.join(f'`{o}`' for o in options)}" if options else "")
        by_gap = rows.set_index("gap")
        cells = [
            f"{by_gap.loc[g, 'signal']:.3f} / {by_gap.loc[g, 'noise']:.3f} = "
            f"{by_gap.loc[g, 'signal'] / by_gap.loc[g, 'noise']:.2f}"
            for g in GAPS
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    Parser(prog="python -m experiments.enumerable", description=__doc__).parse_args()
    found = measure()
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS / "noise.csv", found.to_csv(index=False, float_format="%.6g"))
    fill(DOCS, "noise", markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
