"""The Python interface: what docs/python.md shows runs, and what `tgpo` names exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
import torch

import tgpo
from tests.conftest import ROOT, records

PAGE = (ROOT / "docs" / "python.md").read_text()
NOTEBOOK, LOOP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_public_name_is_there():
    for name in tgpo.__all__:
        assert getattr(tgpo, name) is not None
    assert set(tgpo.__all__) <= set(dir(tgpo))
    with pytest.raises(AttributeError, match="no attribute 'compsoe'"):
        _ = tgpo.compsoe


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "tgpo" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared == {(f"tgpo.{module}", name) for name, module in tgpo._MODULE_OF.items()}
    assert {name for _, name in declared} | {"__version__"} == set(tgpo.__all__)


def test_the_import_loads_nothing_heavy():
    program = "import sys, tgpo; sys.exit(bool({'torch', 'transformers', 'pandas', 'hydra'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_wrong_option_is_a_request_error():
    with pytest.raises(tgpo.RequestError, match=r"train\.stesp"):
        tgpo.compose(["train.stesp=3"])


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown: dict = {}
    exec(NOTEBOOK, shown)
    run = shown["run"]
    assert run.done and list(run.train["step"]) == [1, 2, 3]
    assert len(records(tmp_path / "runs" / "tgpo", "train")) == 3
    assert run.choices["objective"] == "tgpo"
    with pytest.raises(tgpo.RequestError, match="already holds a run"):
        tgpo.train(shown["request"], tmp_path / "runs" / "tgpo")
    (result,) = tgpo.evaluate(tmp_path / "runs" / "tgpo", ["task=arithmetic", "task.eval_more_terms=0"])
    assert result["problems"] == 64
    assert 0 <= result["metrics"]["accuracy"] <= 1
    sweep = tgpo.read_sweep(tmp_path / "runs")
    assert [member.standing for member in sweep.members] == ["counted"]
    found = tgpo.measure_divergence(["divergence.prompts=4", "divergence.samples=1", "rollout.max_response_length=16"])
    values = {finding.name: finding.value for finding in found}
    assert values["divergence/reverse_kl"] > 0


@pytest.mark.parametrize("objective", ["TGPO(weight=(0.5, 0.01, 0.0))", "RKL()"])
def test_the_loop_of_ones_own_runs(objective, capsys):
    torch.manual_seed(0)
    source = LOOP.replace("TGPO(weight=(0.5, 0.01, 0.0))  # or RKL()", objective)
    shown: dict = {}
    exec(source, shown)
    assert capsys.readouterr().out.count("step ") == 3
    batch, credit, loss = shown["batch"], shown["credit"], shown["loss"]
    mask_BT, tokens = batch.mask_BT, batch.mask_BT.sum()
    # By hand: before its update the student is the policy that sampled, so that each ratio is 1 and the surrogate is
    # minus the advantage. The tolerance is that of sums of float32.
    advantage_BT = batch.teacher.sampled_logprobs_BT - batch.old_logprobs_BT
    expected = -(advantage_BT * mask_BT).sum() / tokens
    if "TGPO" in objective:
        reward_B = batch.reward_B
        advantage_BT = ((reward_B - reward_B.mean()) / (reward_B.std() + 1e-6))[:, None]
        weight = credit.scalars["loss/teacher_weight"]
        guidance_BT = weight * -shown["scores"].at_teacher_topk_BTK[..., 0] - advantage_BT
        expected = (guidance_BT * mask_BT).sum() / tokens
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
