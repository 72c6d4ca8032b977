"""The machine: memory, disk and W&B, each against a machine that has too little."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple

import pytest

from tests.compose import composed
from tests.preflight.requests import refused, row
from tgpo.config.check import check
from tgpo.preflight.checks import preflight

GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    def of(gib: float) -> None:
        monkeypatch.setattr("tgpo.preflight.machine.device_memory", lambda _: (int(gib * GIB), True))

    return of


def test_what_cannot_fit_is_refused(memory):
    memory(0.01)
    assert "the run holds 0.018 GiB of the device's 0.010 throughout" in refused()


def test_what_may_not_fit_is_said_and_not_refused(memory):
    memory(0.05)
    preflight(check(composed("output_dir=unused")))
    found = row("memory")
    assert found.state == "note"
    assert "it may not fit; lower train.max_tokens_per_micro_batch" in found.text


def test_passes_side_by_side_are_counted_on_a_cpu(monkeypatch):
    monkeypatch.setattr("tgpo.preflight.machine.device_memory", lambda _: (GIB // 10, False))
    assert row("memory", "train.passes_at_once=1").state == "in order"
    assert row("memory", "train.passes_at_once=8").state == "note"
    assert row("memory", "train.passes_at_once=8", "train.gradient_checkpointing=true").state == "in order"


def test_an_engine_too_small_for_its_weights(memory, monkeypatch):
    monkeypatch.setattr("tgpo.models.vllm.check_installed", lambda _: None)
    memory(1)
    message = refused("rollout=vllm", "vllm.rollout_memory=0.002")
    assert "vllm.rollout_memory=0.002: that is 0.002 of 1.0 GiB, and the weights alone take 0.003" in message


def test_an_engine_is_counted_once_by_the_fraction_it_is_given(memory, monkeypatch):
    monkeypatch.setattr("tgpo.models.vllm.check_installed", lambda _: None)
    memory(10)
    found = row("memory", "rollout=vllm", "teacher.backend=vllm")
    assert "vllm.rollout_memory 3.0, vllm.teacher_memory 3.0" in found.text
    assert "teacher 0" not in found.text


def test_a_vllm_teachers_logits_are_counted_beside_its_fraction(memory, monkeypatch):
    """Float32, twice, for the tokens of a chunk: 2^20 of them at the tiny vocabulary of 101 columns."""
    monkeypatch.setattr("tgpo.models.vllm.check_installed", lambda _: None)
    memory(10)
    found = row("memory", "teacher.backend=vllm", "vllm.teacher_batched_tokens=1048576")
    assert f"the teacher's logits in vLLM {2 * 4 * 2**20 * 101 / GIB:.1f}" in found.text


def test_a_device_that_is_elsewhere_is_planned_for_all_the_same():
    found = row("memory", "train.device=cuda:0")
    assert found.state == "note"
    assert "student, gradient and AdamW 0.012" in found.text


def test_a_full_disk(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**7, 0, 10**7))
    message = refused(f"output_dir={tmp_path / 'a' / 'b'}")
    assert f"2 checkpoints of 0.009 GiB; 0.009 GiB free at output_dir={tmp_path}; make room" in message
    preflight(check(composed(f"output_dir={tmp_path}", "train.checkpoint_every=80")))  # one checkpoint fits
    (tmp_path / "checkpoints" / "step-50").mkdir(parents=True)
    preflight(check(composed(f"output_dir={tmp_path}")))  # a run that goes on has one of its two


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """No key anywhere, and W&B at a closed port of this machine."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_wandb_without_a_key_or_out_of_reach(wandb, monkeypatch):
    assert "no key" in row("W&B", "logger=wandb").text
    (wandb / ".netrc").write_text("machine 127.0.0.1 login user password hidden\n")
    found = row("W&B", "logger=wandb")
    assert found.state == "note"
    assert "a key, but 127.0.0.1 does not answer" in found.text
    assert "hidden" not in found.text
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert row("W&B", "logger=wandb")[1:] == ("in order", "a key, and 127.0.0.1 answers")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert row("W&B", "logger=wandb").text == "WANDB_MODE=offline"


def test_wandb_is_not_looked_for_where_it_is_not_asked_for():
    with pytest.raises(StopIteration):
        row("W&B")
