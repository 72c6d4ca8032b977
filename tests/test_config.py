"""Every choice of every group composes and checks. Mistakes: tests/bad_input."""

from __future__ import annotations

import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException

from tests.compose import CONF, composed, group_choices
from tgpo.config.check import check
from tgpo.config.compose import prepared
from tgpo.config.messages import explain_hydra, explain_override

CHOICES = [f"{group.name}={choice}" for group in sorted(CONF.iterdir()) if group.is_dir() and group.name != "experiment"
           for choice in group_choices(group.name)]  # fmt: skip
HERE = "output_dir=unused"


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_checks(choice):
    try:
        check(composed(choice, HERE))
    except MissingConfigException as error:  # a launcher that is not installed here
        assert "pip install" in explain_hydra(error)


@pytest.mark.slow  # composes three hundred configurations
@pytest.mark.parametrize("experiment", group_choices("experiment"))
def test_every_experiment_composes_and_checks(experiment):
    """The preset, each value of each option it sweeps, seeds apart, and each of its arms."""
    config = composed(f"experiment={experiment}", HERE)
    check(config)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        sweeper = compose("config", [prepared(f"experiment={experiment}")], return_hydra_config=True).hydra.sweeper
    for arm in sweeper.get("arms") or []:
        check(composed(f"experiment={experiment}", *arm.split(), HERE))
    for name, values in (sweeper.get("params") or {}).items():
        if name == "seed":
            continue
        parsed = OverridesParser.create().parse_override(f"{name}={values}")
        assert parsed.is_sweep_override(), name
        for value in parsed.sweep_string_iterator():
            check(composed(f"experiment={experiment}", f"{name}={value}", HERE))


@pytest.mark.parametrize(
    "text",
    [
        "Solve {problem}",
        "Box it, please = ok",
        "it's [this",
        'say "x" \\ {a, ${seed}',
        "ends with \\",
        "(",
        "a: b",
        "{",
    ],
)
def test_what_is_said_to_be_typed_is_read_as_that_text(text):
    """Through the shell's grammar and Hydra's."""
    said = explain_override(f"task.system_prompt={text}")
    (argument,) = shlex.split(said.partition("type ")[2])
    assert composed("task=local", argument, HERE).task.system_prompt == text


def test_the_readme_has_a_line_for_every_group_and_every_kind_of_experiment():
    text = (CONF / "README.md").read_text()
    folders = [path.relative_to(CONF) for path in CONF.rglob("*") if path.is_dir()]
    for folder in folders:
        assert f"[`{folder}`]({folder})" in text, folder
    assert len(folders) > 20


def test_every_key_is_documented_where_it_is_defined():
    """A comment stands above each key's line or on it, or above the first of a block."""
    for path in sorted(CONF.rglob("*.yaml")):
        text = path.read_text()
        assert text.lstrip().startswith("#"), path
        if path.relative_to(CONF).parts[0] in {"experiment", "tuned", "scale", "student"}:
            continue
        keys = [i for i, line in enumerate(text.splitlines()) if line and line[0].isalpha() and ":" in line]
        lines = text.splitlines()
        for i in keys:
            block = lines[:i]
            above = next((line for line in reversed(block) if not (line and line[0].isalpha())), "")
            assert above.startswith("#") or "#" in lines[i] or lines[i].startswith(("defaults", "hydra")), lines[i]


def test_what_a_null_stands_for_is_written_out():
    """The record of a run says what ran."""
    written = check(composed(HERE, "objective=grpo", "objective.variant=dr_grpo")).resolved["objective"]
    assert (written["reduction"], written["normalize_std"], written["clip_high"]) == ("constant", False, 0.2)
    assert check(composed(HERE, "objective=rkl", "objective.estimator=centered")).resolved["objective"]["topk"] == 1024
