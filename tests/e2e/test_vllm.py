"""Whole runs with vLLM: reproducible, in step, resumable; refused where they cannot be."""

from __future__ import annotations

import pytest

from tests import vllm_engines  # noqa: F401  skips where vLLM is not installed
from tests.conftest import command, records, untimed

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

RUN = ["rollout=vllm", "teacher.backend=vllm", "train.steps=4", "train.checkpoint_every=2", "eval.every=2",
       "rollout.prompts_per_batch=4"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm") / "run"
    process = command(*RUN, f"output_dir={folder}")
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.long
def test_the_same_command_twice_gives_the_same_numbers(run, tmp_path):
    assert command(*RUN, f"output_dir={tmp_path / 'again'}").returncode == 0
    assert untimed(tmp_path / "again") == untimed(run)


def test_the_sampler_stays_in_step_with_the_trainer(run):
    for record in records(run, "train"):
        assert record["policy/sampler_logprob_gap"] < 1e-4  # nats, in float32


def test_it_begins_where_the_hf_engines_do(run, tmp_path):
    """Greedy decoding of the base student does not depend on who decodes."""
    hf = [argument for argument in RUN if "vllm" not in argument]
    assert command(*hf, "train.steps=1", f"output_dir={tmp_path / 'hf'}").returncode == 0
    ours, theirs = (records(folder, "eval")[0]["eval/arithmetic/accuracy"] for folder in (run, tmp_path / "hf"))
    assert ours == pytest.approx(theirs, abs=1 / 192)  # a tie between two tokens may fall either way


@pytest.mark.long
def test_importance_weights_are_1_where_the_two_agree(run, tmp_path):
    weighed = ["rollout.old_logprobs=recompute", "rollout.importance_cap=2"]
    assert command(*RUN, *weighed, f"output_dir={tmp_path / 'run'}").returncode == 0
    for ours, theirs in zip(records(tmp_path / "run", "train"), records(run, "train"), strict=True):
        assert ours["gradient/norm"] == pytest.approx(theirs["gradient/norm"], rel=1e-2)  # four steps of float32


@pytest.mark.long
def test_resumes(tmp_path):
    assert command(*RUN, "train.steps=2", f"output_dir={tmp_path / 'run'}").returncode == 0
    process = command(f"resume={tmp_path / 'run'}")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["objective=gkd", "teacher.backend=vllm"], "asks for teacher_full"),
        (["objective.target=sample", "teacher.backend=server"], "asks for teacher_sample"),
        (["rollout=vllm", "vllm.max_model_len=50"], "vllm.max_model_len=50: the run needs"),
        (["rollout.importance_cap=2"], "set old_logprobs=recompute"),
        (["teacher.backend=server"], "needs server.urls"),
        (["+rollout.top_p=0.9", "rollout=vllm"], "not an option"),
    ],
)
def test_refused_with_the_fix(arguments, words, tmp_path):
    process = command(*arguments, f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 2
    assert words in process.stderr
    assert all(line.startswith("error: ") for line in process.stderr.strip().splitlines())
