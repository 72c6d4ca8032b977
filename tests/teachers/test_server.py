"""A teacher behind a real vLLM server on loopback: killed, slow, answering nonsense, serving something else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import torch

from tests import vllm_engines  # noqa: F401  skips where vLLM is not installed
from tests.compose import composed
from tests.conftest import ROOT, command, records
from tests.contexts.batch import shown
from tests.forked import free_port
from tgpo.config.check import check
from tgpo.errors import RequestError, StoppedError
from tgpo.models.loading import resolve
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.server import ServerTeacher, check_servers
from tgpo.types.teacher import TeacherQuery

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

NAME = "tiny:teacher"
MOST_LOGPROBS = 16


def start(port: int) -> subprocess.Popen:
    arguments = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve(NAME),
        "--served-model-name", NAME,
        "--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--max-logprobs", str(MOST_LOGPROBS),
        "--port", str(port), "--host", "127.0.0.1",
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                   "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}  # fmt: skip
    return subprocess.Popen(arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def stop(server: subprocess.Popen) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError("the server did not come up")


@pytest.fixture(scope="module")
def served():
    """The port, and a list of the one process that serves there, for a test to replace."""
    port = free_port()
    processes = [start(port)]
    wait_for(f"http://127.0.0.1:{port}")
    yield port, processes
    stop(processes[0])


@pytest.fixture
def url(served):
    return f"http://127.0.0.1:{served[0]}"


@pytest.fixture
def tokens(student_model, tokenizer):
    problems = Arithmetic().train_problems(0, 1, 8)
    return pad(HFRollout(student_model, tokenizer, [1]).generate(problems, Sampling(2, 1.0, 40, 0)), 0)


def options(*urls: str, **changes):
    given = [f"server.urls=[{','.join(urls)}]", *(f"server.{key}={value}" for key, value in changes.items())]
    return check(composed("output_dir=unused", *given)).options.server


@contextmanager
def impostor(answer: bytes, delay: float = 0.0):
    """A server that answers everything with the same bytes, after a while."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            time.sleep(delay)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("topk", [0, 1, 8])
def test_agrees_with_the_hf_teacher(url, tokens, teacher_model, topk):
    query = TeacherQuery(topk=topk)
    ours = ServerTeacher(NAME, options(url)).score(tokens, query)
    theirs = HFTeacher(teacher_model, 101, 2**24, 10_000).score(tokens, query)
    close = {"rtol": 1e-5, "atol": 1e-4}  # nats, in float32; of a token at -10 the eighth digit of its logit counts
    torch.testing.assert_close(ours.sampled_logprobs_BT, theirs.sampled_logprobs_BT, **close)
    if topk:
        torch.testing.assert_close(ours.topk_logprobs_BTK, theirs.topk_logprobs_BTK, **close)


def test_a_prompt_of_its_own_goes_before_the_same_response(url, student_model, teacher_model, tokenizer):
    teachers = [ServerTeacher(NAME, options(url)), HFTeacher(teacher_model, 101, 2**24, 10_000)]
    asked, panels = shown(student_model, tokenizer, teachers)
    ours, theirs = (panel.score(asked, TeacherQuery()).sampled_logprobs_BT for panel in panels)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    assert not ours[~asked.taught_B].any()


def test_passes_its_own_check(url, tokenizer):
    check_servers(NAME, options(url), tokenizer, 200, 5)


def test_another_model_tokenizer_or_length_is_refused(url, tokenizer, monkeypatch):
    with pytest.raises(RequestError, match=r"serves tiny:teacher, and teacher\.path is qwen-7b"):
        check_servers("qwen-7b", options(url), tokenizer, 200, 5)
    with pytest.raises(RequestError, match="takes 256 tokens and the run needs 256"):
        check_servers(NAME, options(url), tokenizer, 256, 5)
    monkeypatch.setattr(type(tokenizer), "decode", lambda self, ids, **_: "another alphabet")
    with pytest.raises(RequestError, match="another tokenizer than the student, among ids 0 to 100"):
        check_servers(NAME, options(url), tokenizer, 200, 5)


def test_more_of_the_top_than_it_gives(url, tokens, tokenizer):
    with pytest.raises(RequestError, match="refuses a top-17"):
        check_servers(NAME, options(url), tokenizer, 200, MOST_LOGPROBS + 1)
    with pytest.raises(RequestError, match="server refused"):
        ServerTeacher(NAME, options(url)).score(tokens, TeacherQuery(topk=MOST_LOGPROBS + 1))


def test_what_is_no_server(tokenizer):
    with pytest.raises(RequestError, match=r"127\.0\.0\.1:9 does not answer"):
        check_servers(NAME, options("http://127.0.0.1:9"), tokenizer, 200, 5)
    with impostor(b"<html>") as url, pytest.raises(RequestError, match="is no vLLM server"):
        check_servers(NAME, options(url), tokenizer, 200, 5)
    with pytest.raises(RequestError, match=r"needs server\.urls"):
        check_servers(NAME, options(), tokenizer, 200, 5)


def test_a_bad_server_among_good_ones_costs_only_time(url, tokens):
    expected = ServerTeacher(NAME, options(url)).score(tokens, TeacherQuery(topk=2))
    nonsense = json.dumps({"choices": [{"prompt_logprobs": [None]}]}).encode()
    for answer, delay in ((b"garbage", 0.0), (nonsense, 0.0), (b"{}", 3.0)):
        with impostor(answer, delay) as other:
            found = ServerTeacher(NAME, options(other, url, timeout=1.0)).score(tokens, TeacherQuery(topk=2))
        torch.testing.assert_close(found.topk_logprobs_BTK, expected.topk_logprobs_BTK, rtol=1e-5, atol=1e-4)


def test_patience_ends(tokens):
    with impostor(b"garbage") as other:
        teacher = ServerTeacher(NAME, options(other, patience=2))
        with pytest.raises(StoppedError, match=r"gave no answer for 2 s .*garbage"):
            teacher.score(tokens, TeacherQuery())


@pytest.mark.long
def test_killed_and_started_again_the_run_goes_on(served, url, tmp_path):
    """The run that met the kill is, number for number, the run that did not."""
    port, processes = served
    arguments = [
        "train.steps=6", "rollout.prompts_per_batch=4", "eval.every=6", "teacher.backend=server",
        f"server.urls=[{url}]",
    ]  # fmt: skip
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    assert command(*arguments, f"output_dir={whole}").returncode == 0
    run = subprocess.Popen([sys.executable, "run.py", *arguments, f"output_dir={interrupted}"], cwd=ROOT)
    metrics = interrupted / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count('"kind": "train"') < 2:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop(processes[0])
    processes[0] = start(port)
    assert run.wait(240) == 0
    for ours, theirs in zip(records(interrupted, "train"), records(whole, "train"), strict=True):
        assert ours["loss/total"] == pytest.approx(theirs["loss/total"], rel=1e-4)  # batched otherwise: float32


def test_gone_for_good_the_run_stops_with_a_checkpoint(served, url, tmp_path):
    """Up for the check, down for the run: one line, and a directory that can be resumed. It is the last test here,
    because the server is not started again."""
    _, processes = served
    run = tmp_path / "run"
    arguments = [
        "train.steps=200", "rollout.prompts_per_batch=4", "teacher.backend=server", "server.patience=2",
        f"server.urls=[{url}]", f"output_dir={run}",
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, "run.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count('"kind": "train"') < 2:
        assert process.poll() is None
        time.sleep(0.02)
    stop(processes[0])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "stopped: the teacher's server gave no answer for 2 s" in errors
    assert len(list((run / "checkpoints").glob("step-*"))) == 1
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
