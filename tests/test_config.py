"""Every choice of every group composes and checks; mistakes are one line."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException

from tests.compose import CONF, composed, group_choices
from tgpo.command import explain
from tgpo.config import check
from tgpo.errors import RequestError

CHOICES = [f"{group.name}={choice}" for group in sorted(CONF.iterdir()) if group.is_dir() and group.name != "experiment"
           for choice in group_choices(group.name)]  # fmt: skip
HERE = "output_dir=unused"


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_checks(choice):
    try:
        check(composed(choice, HERE))
    except MissingConfigException as error:  # a launcher that is not installed here
        assert "pip install" in explain(error)


@pytest.mark.parametrize("experiment", group_choices("experiment"))
def test_every_experiment_composes_and_checks(experiment):
    """The preset, each value of each option it sweeps, seeds apart, and each of its arms."""
    config = composed(f"experiment={experiment}", HERE)
    check(config)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        sweeper = compose("config", [f"experiment={experiment}"], return_hydra_config=True).hydra.sweeper
    for arm in sweeper.get("arms") or []:
        check(composed(f"experiment={experiment}", *arm.split(), HERE))
    for name, values in (sweeper.get("params") or {}).items():
        if name == "seed":
            continue
        parsed = OverridesParser.create().parse_override(f"{name}={values}")
        assert parsed.is_sweep_override(), name
        for value in parsed.sweep_string_iterator():
            check(composed(f"experiment={experiment}", f"{name}={value}", HERE))


def test_every_key_is_documented_where_it_is_defined():
    """A comment stands above each key's line or on it, or above the first of a block."""
    for path in sorted(CONF.rglob("*.yaml")):
        text = path.read_text()
        assert text.lstrip().startswith("#"), path
        if path.parent.name in {"experiment", "tuned", "tuning", "student"}:
            continue
        keys = [i for i, line in enumerate(text.splitlines()) if line and line[0].isalpha() and ":" in line]
        lines = text.splitlines()
        for i in keys:
            block = lines[:i]
            above = next((line for line in reversed(block) if not (line and line[0].isalpha())), "")
            assert above.startswith("#") or "#" in lines[i] or lines[i].startswith(("defaults", "hydra")), lines[i]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.steps=0"], "train.steps=0"),
        (["train.steps=many"], "train.steps=many"),
        (["train.lr=-1"], "train.lr=-1"),
        (["rollout.temperature=0"], "rollout.temperature=0"),
        (["rollout.backend=vlm"], "rollout.backend=vlm"),
        (["objective.clip_low=1.5"], "objective.clip_low=1.5"),
        (["objective.weight=[1,2]"], "too few entries"),
        (["objective.reduction=mean"], "objective.reduction=mean"),
        (["+objective.weigth=[1,2,3]"], "did you mean 'objective.weight'"),
        (["+train.step=3"], "did you mean 'train.steps'"),
        (["task.min_terms=4", "task.max_terms=3"], "min_terms (4) is above max_terms (3)"),
        (["task=chain_sum", "task.dataset=chain_sums"], "did you mean 'chain_sum'"),
        (["train.updates_per_batch=3"], "does not divide"),
        (["eval.every=0"], "eval.every=0"),
        (["seed=-1"], "seed=-1"),
        (["train.betas=[0.9,2]"], "train.betas=2"),
        (["train.lr=inf"], "train.lr=inf"),
        (["task.eval_two_terms=5000"], "task.eval_two_terms=5000"),
        (["~rollout.group_size"], "rollout.group_size is required"),
        (["task=chain_sum", "task.dataset=gsm_symbolic"], "do not suit gsm_symbolic"),
        (["task=chain_sum", "task.options.min_terms=9"], "do not suit chain_sum"),
        (["task=reasoning_gym", "task.question=qestion"], "did you mean 'question'"),
        (["objective=kdrl", "objective.beta=[1,2,3]"], "schedule: linear"),
        (["objective=kdrl", "objective.beta=-1"], "objective.beta"),
        (["objective=rkl", "objective.topk=1"], "topk=1: read by the estimators topk_loss and centered"),
        (["objective=rkl", "objective.estimator=topk_loss", "objective.topk=1"], "topk=1: topk_loss renormalises"),
        (["objective=rkl", "objective.clip_high=0"], "objective.clip_high=0"),
        (["objective=gkd", "objective.beta=1.5"], "objective.beta=1.5"),
        (["objective=gkd", "objective.on_policy_fraction=-1"], "objective.on_policy_fraction=-1"),
        (["objective=fkl", "objective.topk=0"], "objective.topk=0"),
        (["objective=luffy", "objective.gamma=0"], "objective.gamma=0"),
        (["objective=sft", "objective.demonstrations=0"], "objective.demonstrations=0"),
        (["objective.weight=[-1,0,0]"], "objective.weight"),
        (["objective.mismatch_budget=0.1"], "weighting: adaptive"),
        (["objective=grpo", "objective.variant=dapoo"], "objective.variant=dapoo"),
        (["demonstrations.attempts=0"], "demonstrations.attempts=0"),
        (["server.urls=[localhost]"], "each is http://HOST:PORT"),
        (["server.urls=['http://h:PORT']"], "each is http://HOST:PORT"),
        (["rollout.importance_cap=2"], "set old_logprobs=recompute"),
        (["rollout.importance_cap=2", "rollout.old_logprobs=recompute", "rollout.temperature=0.7"], "temperature=1"),
        (["objective.weighting=adaptive", "objective.gate=false"], "needs gate: true, a mismatch_budget, or both"),
        (["vllm.rollout_memory=1.5"], "vllm.rollout_memory=1.5"),
        (["objective=tgpo", "objective.target=topk"], "2 or more for target: topk"),
    ],
)
def test_mistakes_are_named_in_one_line(overrides, words):
    with pytest.raises(RequestError) as caught:
        check(composed(HERE, *overrides))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_null_stands_for_is_written_out():
    """The record of a run says what ran."""
    written = check(composed(HERE, "objective=grpo", "objective.variant=dr_grpo")).resolved["objective"]
    assert (written["reduction"], written["normalize_std"], written["clip_high"]) == ("constant", False, 0.2)
    assert check(composed(HERE, "objective=rkl", "objective.estimator=centered")).resolved["objective"]["topk"] == 1024
