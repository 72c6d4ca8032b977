"""The W&B workspace and report of a sweep, as they would be sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT
from tgpo.errors import RequestError
from tgpo.report.dashboard import SECTIONS, read_sweep, specification


def logged(sweep, *names: str, project: str = "tgpo") -> None:
    for name in names:
        run = sweep / name
        run.mkdir(parents=True)
        config = {"name": "compare", "logger": {"backend": "wandb", "project": project, "entity": None}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        (run / "metrics.jsonl").write_text('{"kind": "eval", "step": 0, "eval/arithmetic/accuracy": 0.5}\n')
        (run / "wandb_id").write_text(f"id{name}")


def line_plots(node) -> list[dict]:
    if isinstance(node, dict):
        own = [node["config"]] if node.get("viewType") == "Run History Line Plot" else []
        return own + [plot for value in node.values() for plot in line_plots(value)]
    return [plot for value in node for plot in line_plots(value)] if isinstance(node, list) else []


def test_both_show_every_panel_by_objective_over_steps_and_the_sweep_alone(tmp_path):
    sweep = tmp_path / "2026"
    logged(sweep, "0", "1")
    (sweep / "1" / "wandb" / "offline-run-1-id1-offline").mkdir(parents=True)
    made = specification(read_sweep(sweep), "us")
    wanted = [m.format(task="arithmetic") for metrics in SECTIONS.values() for m in metrics]
    for name in ("workspace", "report"):
        plots = line_plots(made[name])
        assert [plot["metrics"] for plot in plots] == [[metric] for metric in wanted]
        for plot in plots:
            assert (plot["xAxis"], plot["groupBy"]) == ("step", "choices.value.objective")
            assert (plot["groupAgg"], plot["groupArea"], plot["aggregate"]) == ("mean", "minmax", True)
        assert '"value": ["id0", "id1", "id1-offline"]' in json.dumps(made[name])
    assert (made["workspace"]["entity"], made["workspace"]["displayName"]) == ("us", "compare 2026")
    assert made["workspace"]["spec"]["section"]["settings"]["xAxis"] == "step"


def test_every_panel_shows_a_metric_that_is_documented():
    text = (ROOT / "docs" / "metrics.md").read_text()
    for metric in (m for metrics in SECTIONS.values() for m in metrics):
        assert f"`{metric.format(task='<task>')}`" in text


def test_sweeps_without_a_dashboard(tmp_path):
    with pytest.raises(RequestError, match="no runs there"):
        read_sweep(tmp_path)
    logged(tmp_path, "0", "1")
    (tmp_path / "1" / "wandb_id").unlink()
    assert read_sweep(tmp_path).run_ids == ["id0"]
    (tmp_path / "0" / "wandb_id").unlink()
    with pytest.raises(RequestError, match="none of its 2 runs was logged to W&B"):
        read_sweep(tmp_path)
    logged(tmp_path, "2", "3")
    logged(tmp_path, "4", project="other")
    with pytest.raises(RequestError, match="lie in 2 W&B projects"):
        read_sweep(tmp_path)


@pytest.mark.slow
def test_without_a_key_the_command_prints_what_it_would_save_and_with_a_wrong_one_says_so(tmp_path):
    logged(tmp_path, "0")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | {"HOME": str(tmp_path)}

    def dashboard(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tgpo.report.dashboard", str(tmp_path)],
            cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    without = dashboard()
    assert without.returncode == 0, without.stderr
    assert set(json.loads(without.stdout)) == {"workspace", "report"}
    refused = dashboard(WANDB_API_KEY="k" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: W&B did not take it")
    assert "k" * 40 not in refused.stdout + refused.stderr
