"""`python -m tgpo.report.dashboard SWEEP` makes a W&B workspace and a W&B report of a sweep.

Without an API key it prints the JSON that would be sent for both. Curves are over steps and grouped by objective.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tgpo.errors import Parser, RequestError, exit_on_error
from tgpo.metrics.wandb import has_key, server_problem

SECTIONS = {
    "Accuracy": ["eval/{task}/accuracy", "reward/mean"],
    "Length": ["response/length_mean", "response/length_p95", "response/truncated_fraction"],
    "Gradient": ["gradient/variance", "gradient/snr", "gradient/norm"],
    "Divergence": ["divergence/reverse_kl_k1", "divergence/mismatch", "divergence/topk_overlap"],
}
LOGARITHMIC = ("gradient/variance", "gradient/norm")
COLUMNS = ["summary:accuracy/base", "summary:accuracy/best", "summary:accuracy/final"]
GROUP_BY, NOBODY = "choices.objective", "your-entity"
MOST_RUNS = 1000  # per panel; the default of W&B is ten


@dataclass(frozen=True)
class Logged:
    """A sweep's runs as W&B knows them."""

    name: str
    project: str
    entity: str | None
    tasks: list[str]
    run_ids: list[str]


def read_sweep(sweep: Path) -> Logged:
    """Reads from the runs' files which runs were logged, to which project, and on which tasks they were evaluated."""
    runs = [path.parent for path in sorted(sweep.glob("*/config.yaml"))]
    if not runs:
        raise RequestError(f"{sweep}: no runs there")
    logged = [run for run in runs if (run / "wandb_id").is_file()]
    if not logged:
        raise RequestError(f"{sweep}: none of its {len(runs)} runs was logged to W&B; run it with logger=wandb")
    configs = [yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) for run in logged]
    homes = {(config["logger"]["project"], config["logger"]["entity"]) for config in configs}
    if len(homes) > 1:
        raise RequestError(f"{sweep}: its runs lie in {len(homes)} W&B projects; a workspace shows one")
    ((project, entity),) = homes
    ids = [(run / "wandb_id").read_text().strip() for run in logged]
    # a run that was logged offline, because the server did not answer, has an id of its own
    ids += [f"{i}-offline" for run, i in zip(logged, ids, strict=True) if any(run.glob(f"wandb/*-{i}-offline"))]
    name = f"{configs[0]['name']} {sweep.resolve().name}"
    return Logged(name, project, entity, sorted(set().union(*map(tasks_of, logged))), ids)


def tasks_of(run: Path) -> set[str]:
    """Returns the tasks in the run's first record, which is the evaluation of the base student."""
    path = run / "metrics.jsonl"
    first = next(iter(path.read_text(encoding="utf-8").splitlines()), "{}") if path.is_file() else "{}"
    return {name.split("/")[1] for name in json.loads(first) if name.startswith("eval/")}


def sections(logged: Logged) -> dict[str, list[Any]]:
    """Returns line plots by section: the mean of each objective's runs, in a band from the lowest to the highest."""
    import wandb_workspaces.reports.v2 as wr

    def plot(metric: str) -> Any:
        return wr.LinePlot(
            title=metric, x="step", y=[metric], log_y=metric in LOGARITHMIC, groupby=wr.Config(GROUP_BY),
            groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST_RUNS, title_x="step",
        )  # fmt: skip

    named = {title: [m.format(task=t) for m in metrics for t in (logged.tasks if "{task}" in m else [""])]
             for title, metrics in SECTIONS.items()}  # fmt: skip
    return {title: [plot(metric) for metric in dict.fromkeys(metrics)] for title, metrics in named.items()}


def workspace(logged: Logged, entity: str) -> Any:
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    return ws.Workspace(
        entity=entity,
        project=logged.project,
        name=logged.name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=True, panel_settings=ws.SectionPanelSettings(x_axis="step"))
            for title, panels in sections(logged).items()
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("ID").isin(logged.run_ids)),
            groupby=[ws.Config(GROUP_BY)],
            pinned_columns=COLUMNS,
        ),
    )


def report(logged: Logged, entity: str) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2 import interface

    runs = interface.Runset(  # its default is the report's project; naming one would query the server
        name=logged.name,
        filters=expr.And(expr.Metric("ID").isin(logged.run_ids)),
        groupby=[f"config.{GROUP_BY}"],
        pinned_columns=COLUMNS,
    )
    blocks: list[Any] = [
        wr.P(f"{len(logged.run_ids)} runs. Lines are means of an objective's runs, bands their range.")
    ]
    for title, panels in sections(logged).items():
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)]
    return interface.Report(project=logged.project, entity=entity, title=logged.name, blocks=blocks, width="fluid")


def specification(logged: Logged, entity: str) -> dict[str, Any]:
    """Returns the workspace and the report as the JSON that would be sent to W&B."""
    view, page = workspace(logged, entity), report(logged, entity)
    return {
        name: json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, made in (("workspace", view), ("report", page))
    }


def publish(logged: Logged, entity: str | None) -> list[str] | None:
    """Saves the workspace and the report and returns their URLs; None where there is no API key."""
    import wandb
    from wandb.errors import Error

    try:
        if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
            return None
        if has_key() and (problem := server_problem()):
            raise RequestError(f"W&B did not take it: {problem}")
        if not wandb.login(prompt=False):
            return None
        entity = entity or str(wandb.Api().default_entity)
        saved = [workspace(logged, entity).save(), report(logged, entity).save()]
    except (Error, ValueError) as error:
        raise RequestError(f"W&B did not take it: {' '.join(str(error).split())}") from error
    return [made.url for made in saved]


def main() -> None:
    parser = Parser(prog="python -m tgpo.report.dashboard", description=__doc__)
    parser.add_argument("sweep", type=Path, help="the sweep's folder")
    parser.add_argument("--entity", help="the W&B team or user (default: the runs' own, or yours)")
    arguments = parser.parse_args()
    with exit_on_error():
        if find_spec("wandb_workspaces") is None:
            raise RequestError("wandb-workspaces is not installed; pip install 'wandb-workspaces>=0.4'")
        logged = read_sweep(arguments.sweep)
        entity = arguments.entity or logged.entity
        addresses = publish(logged, entity)
        if addresses:
            print("\n".join(addresses))
        else:
            print(json.dumps(specification(logged, entity or NOBODY), indent=1))
            print("no W&B key here: this is what would be saved; `wandb login`, then again", file=sys.stderr)


if __name__ == "__main__":
    main()
