"""Where a resumed run goes on, what of it may be changed, and that nothing but the checkpoint decides how."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.compose import composed
from tests.conftest import records, untimed
from tests.parts import small, textbook
from tgpo.config.check import check
from tgpo.errors import RequestError, StoppedError
from tgpo.runs.directory import RunDirectory
from tgpo.runs.resume import Start, changed, check_changes, pick
from tgpo.runtime.interrupt import Interrupt
from tgpo.training.components import build_components
from tgpo.training.loop import Components, RunUnstableError, open_writer, train_loop
from tgpo.types.problem import Need

SHORT = ["train.checkpoint_every=1", "eval.every=2", "task.eval_two_terms=4", "task.eval_more_terms=4"]


def go(parts: Components, folder: Path, until: int = 100) -> Path:
    """The rounds of a run up to a step, as `run` goes through them."""
    files = RunDirectory(folder)
    folder.mkdir(exist_ok=True)
    with open_writer(parts.request, files, parts.done) as writer:
        for step in train_loop(parts, files, Interrupt(), writer):
            if step == until:
                break
    return folder


def resumed(parts: Components, folder: Path, step: int) -> Components:
    needs = Need.DEMONSTRATION in parts.request.objective.needs
    return build_components(
        parts.request, folder / "checkpoints" / f"step-{step}", textbook(parts.request) if needs else None
    )


def disturb() -> None:
    """Leaves the generators that every library shares somewhere else."""
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(random.SystemRandom().randrange(2**32))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["objective=tgpo", "objective.weighting=adaptive", "objective.mismatch_budget=0.2", "train.lr_schedule=cosine"],
        ["objective=tgpo", "objective.target=sample", "lora.rank=2", "metrics.gradient_variance_method=sketch"],
        ["objective=luffy", "train.updates_per_batch=2"],
        ["objective=gkd", "objective.on_policy_fraction=0.5", "eval.temperature=1", "eval.samples_per_problem=2"],
        ["objective=grpo", "task=chain_sum"],
    ],
    ids=lambda options: options[1],
)
def test_no_random_state_outside_the_seed_reaches_a_run(options, tmp_path, monkeypatch):
    """Every draw has a generator of its own, seeded by (seed, purpose, step): there is no state to save.

    One run is left alone; in the other the generators of Python, NumPy and torch are moved before every step,
    and it is resumed after the second from what its checkpoint holds.
    """
    few = [o for o in SHORT if not o.startswith("task.") or "task=chain_sum" not in options]
    options = [*few, *options, "train.steps=3"]
    alone = go(small(*options), tmp_path / "alone")
    disturb()
    parts = small(*options)

    def disturbed(parts: Components) -> Components:
        inner = parts.trainer.collector.collect

        def collect(*arguments):
            disturb()
            return inner(*arguments)

        monkeypatch.setattr(parts.trainer.collector, "collect", collect)
        return parts

    run = go(disturbed(parts), tmp_path / "run", until=2)
    disturb()
    go(disturbed(resumed(parts, run, 2)), run)
    assert untimed(run) == untimed(alone)
    assert (run / "rollouts.jsonl").read_bytes() == (alone / "rollouts.jsonl").read_bytes()
    weights = "checkpoints/step-3/model/model.safetensors"
    assert (run / weights).read_bytes() == (alone / weights).read_bytes()


@pytest.mark.slow
def test_skipped_steps_in_a_row_are_counted_across_a_resume(tmp_path):
    def broken(parts: Components) -> Components:
        parts.trainer.parameters[0].register_hook(lambda gradient: gradient * torch.nan)
        return parts

    options = [*SHORT, "train.steps=9", "train.max_bad_steps=2"]
    with pytest.raises(RunUnstableError, match="3 steps in a row"):
        go(broken(small(*options)), tmp_path / "alone")
    run = go(broken(small(*options)), tmp_path / "run", until=2)
    with pytest.raises(RunUnstableError, match="3 steps in a row"):
        go(broken(resumed(small(*options), run, 2)), run)
    assert untimed(run) == untimed(tmp_path / "alone")


@pytest.mark.slow
def test_an_evaluation_that_had_to_stop_is_made_when_the_run_goes_on(tmp_path, monkeypatch):
    options = [*SHORT, "train.steps=3"]
    alone = go(small(*options), tmp_path / "alone")
    parts, run = small(*options), tmp_path / "run"
    go(parts, run, until=1)
    parts = resumed(parts, run, 1)
    with monkeypatch.context() as patched:

        def lost(*_):
            raise StoppedError("the server is gone")

        patched.setattr("tgpo.training.loop.evaluation_record", lost)
        with pytest.raises(StoppedError):
            go(parts, run)
    assert records(run)[-1]["kind"] == "train"
    go(resumed(parts, run, 2), run)
    assert untimed(run) == untimed(alone)


@pytest.fixture
def begun(tmp_path):
    """A run that was killed in its second step, before its first checkpoint at step 2."""
    config = {"train": {"checkpoint_every": 2, "steps": 6}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "metrics.jsonl").write_text('{"kind": "eval", "step": 0}\n{"kind": "train", "step": 1}\n{"kind": "tr')
    (tmp_path / "status.json").write_text('{"status": "running"}')
    return tmp_path


def test_killed_before_its_first_checkpoint_it_begins_again(begun):
    assert pick(begun, {}, 6) == Start()
    (begun / "status.json").unlink()  # killed before it had one
    assert pick(begun, {}, 6) == Start()


@pytest.mark.parametrize("state", ["running", "done"])
def test_steps_are_not_thrown_away_where_checkpoints_were_removed(state, begun):
    (begun / "status.json").write_text(json.dumps({"status": state}))
    reached = 3 if state == "running" else 2
    with (begun / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps({"kind": "train", "step": step}) + "\n" for step in range(1, reached + 1))
    with pytest.raises(RequestError, match=f"no complete checkpoint there, though it came to step {reached}"):
        pick(begun, {}, 6)


def test_what_follows_from_an_option_changes_and_a_default_of_today_does_not():
    before = check(composed("output_dir=a")).resolved
    after = check(composed("output_dir=b", "rollout.max_response_length=40", "train.lr=1e-4")).resolved
    own = json.loads(json.dumps(before))
    own["train"]["weight_decay"] = 0.5  # as if the default had been another when the run began
    config, changes = changed(own, before, after)
    keys = ("rollout.max_response_length", "eval.max_response_length")
    assert changes == dict.fromkeys(keys, (96, 40))
    assert config["train"]["weight_decay"] == 0.5
    assert (config["rollout"]["max_response_length"], config["eval"]["max_response_length"]) == (40, 40)
    assert own["rollout"]["max_response_length"] == 96


def test_keys_that_come_and_go():
    before, after = {"a": {"x": 1, "y": 2}, "b": {}}, {"a": {"x": 1, "z": 3}, "b": {"c": 4}}
    config, changes = changed(before, before, after)
    assert config == after
    assert changes == {"a.y": (2, "absent"), "a.z": ("absent", 3), "b.c": ("absent", 4)}


def test_some_keys_stay_whatever_is_asked():
    for key in ("seed", "student.path", "lora.rank", "objective._target_"):
        with pytest.raises(RequestError, match="cannot change within a run"):
            check_changes(Path("run"), {key: (1, 2)}, allowed=True)
    check_changes(Path("run"), {"seeds": (1, 2), "objective.topk": (1, 2)}, allowed=True)
    with pytest.raises(
        RequestError, match=r"objective\.topk: 1 -> 2; to go on with the new ones add resume_with_changes"
    ):
        check_changes(Path("run"), {"objective.topk": (1, 2)}, allowed=False)


def test_a_kill_within_a_character_is_a_line_cut_short(tmp_path):
    lines = [json.dumps({"step": step, "response": "½ + ½\u2028"}, ensure_ascii=False) + "\n" for step in (1, 2, 3)]
    content = "".join(lines).encode()
    path = tmp_path / "rollouts.jsonl"
    for cut in range(len("".join(lines[:2]).encode()), len(content)):
        path.write_bytes(content[:cut])
        RunDirectory(tmp_path).drop_after(2)
        assert path.read_text() == "".join(lines[:2])


def test_a_run_killed_before_its_provenance_was_written_is_resumed(tmp_path):
    RunDirectory(tmp_path).note_resume({"seed": 0})
    assert json.loads((tmp_path / "provenance.json").read_text()) == {"resumed": [{"seed": 0}]}
