"""Tokenizers that differ: by a token, by tokens at the end, by the token that ends a response, by a template."""

from __future__ import annotations

import json

import httpx
import pytest
import torch

from tests.compose import composed
from tests.conftest import called, records
from tests.preflight.requests import edit, refused, row
from tgpo.config.check import check
from tgpo.models.loading import TEMPLATES, eos_ids, load_model, load_tokenizer
from tgpo.preflight.checks import preflight
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.server import SPARE, AnswerError, answer
from tgpo.types.teacher import TeacherQuery

SHARED = 101  # tokens of the tiny models
TOLERANCE = 1e-5  # of float32 log-softmaxes over 101 columns, taken in another order
CANCELLED = 1e-3  # of 1 - p for float32 log-probabilities where p is within 1e-3 of 1


def test_more_tokens_at_the_end_are_refused_by_name(longer):
    message = refused(f"teacher.path={longer}")
    assert "has 2 more than tiny:large-gap, from id 101 on ('<think>', '</think>')" in message
    assert "teacher.extra_tokens=drop" in message


def test_and_can_be_dropped_which_is_said(longer):
    preflight(check(composed("output_dir=unused", f"teacher.path={longer}", "teacher.extra_tokens=drop")))
    found = row("teacher's tokenizer", f"teacher.path={longer}", "teacher.extra_tokens=drop")
    assert found.state == "note"
    assert "2 others ('<think>', '</think>') are dropped" in found.text


def test_dropping_does_not_excuse_a_token_that_differs(longer, copied):
    text = (copied / "tokenizer.json").read_text()
    (copied / "tokenizer.json").write_text(text.replace('"a": 15', '"@": 15').replace('"@": 88', '"a": 88'))
    assert "id 15 is 'a'" in refused(f"teacher.path={copied}", "teacher.extra_tokens=drop")
    # the student may not have more than its teacher: it could sample what the teacher cannot score
    message = refused(f"student.path={longer}", "teacher.extra_tokens=drop")
    assert f"id 101 is '<think>' for {longer} and None for tiny:teacher" in message


@pytest.fixture
def scored(longer):
    """Student rollouts, the longer teacher, and its log-softmax over all 103 tokens at every response position."""
    student, tokenizer = load_model("tiny:large-gap", "float32", "cpu"), load_tokenizer("tiny:large-gap")
    sampler = HFRollout(student, tokenizer, eos_ids(student, tokenizer))
    rollouts = sampler.generate(Arithmetic().eval_problems()[:4], Sampling(2, 1.0, 24, seed=3))
    model = load_model(str(longer), "float32", "cpu")
    with torch.no_grad():
        whole = [
            model(torch.tensor([r.prompt_ids + r.response_ids])).logits[0, len(r.prompt_ids) - 1 : -1].log_softmax(-1)
            for r in rollouts
        ]
    return rollouts, model, whole


def test_what_is_dropped_is_spread_over_the_shared_tokens(scored):
    rollouts, model, whole = scored
    lost = torch.cat(whole)[:, SHARED:].exp().sum(-1)
    assert lost.max() > 0.3  # they would have mattered
    tokens = pad(rollouts, 0)
    signal = HFTeacher(model, SHARED, 2**20, 4096).score(tokens, TeacherQuery(sampled=True, topk=3))
    for i, full in enumerate(whole):
        shared = full[:, :SHARED] - full[:, :SHARED].logsumexp(-1, keepdim=True)
        length, ids = len(full), torch.tensor(rollouts[i].response_ids)
        expected = shared.gather(-1, ids[:, None])[:, 0]
        torch.testing.assert_close(signal.sampled_logprobs_BT[i, :length], expected, atol=TOLERANCE, rtol=0)
        best = shared.topk(3)
        torch.testing.assert_close(signal.topk_logprobs_BTK[i, :length], best.values, atol=TOLERANCE, rtol=0)
        assert signal.topk_ids_BTK[i, :length].lt(SHARED).all()


def served(rollout, full, asked: int) -> httpx.Response:
    """What vLLM's server answers, in its format: the token itself, then the best of the whole vocabulary."""
    positions: list = [None] * len(rollout.prompt_ids)
    for row_V, token in zip(full, rollout.response_ids, strict=True):
        order = row_V.argsort(descending=True).tolist()
        listed = [token, *(i for i in order[:asked] if i != token)]
        positions.append({str(i): {"logprob": row_V[i].item(), "rank": order.index(i) + 1} for i in listed})
    return httpx.Response(200, text=json.dumps({"choices": [{"prompt_logprobs": positions}]}))


def test_a_servers_answer_is_the_same_as_this_processs(scored):
    rollouts, model, whole = scored
    signal = HFTeacher(model, SHARED, 2**20, 4096).score(pad(rollouts, 0), TeacherQuery(sampled=True, topk=3))
    for i, (rollout, full) in enumerate(zip(rollouts, whole, strict=True)):
        found = served(rollout, full, 3 + SPARE)
        got, length = answer(found, len(rollout.prompt_ids), len(full), 3, shared=SHARED), len(full)
        for ours, theirs in (
            (got.logprobs, signal.sampled_logprobs_BT),
            (got.topk_logprobs, signal.topk_logprobs_BTK),
        ):
            torch.testing.assert_close(torch.tensor(ours), theirs[i, :length], atol=CANCELLED, rtol=0)
        assert torch.tensor(got.topk_ids).eq(signal.topk_ids_BTK[i, :length]).all()
        plain = answer(served(rollout, full, 3), len(rollout.prompt_ids), length, 3)
        assert plain.logprobs == [value["logprob"] for value in first_listed(found, len(rollout.prompt_ids))]
    with pytest.raises(AnswerError, match="fewer than 3 tokens"):
        answer(served(rollouts[0], whole[0], 2), len(rollouts[0].prompt_ids), len(whole[0]), 3, shared=SHARED)


def first_listed(found: httpx.Response, prompt: int) -> list:
    return [next(iter(at.values())) for at in found.json()["choices"][0]["prompt_logprobs"][prompt:]]


@pytest.mark.slow
def test_a_run_with_tokens_dropped(longer, tmp_path):
    options = ["train.steps=2", "eval.every=2", "task.eval_two_terms=4", "task.eval_more_terms=0"]
    process = called(*options, f"teacher.path={longer}", "teacher.extra_tokens=drop", f"output_dir={tmp_path / 'run'}")
    assert process.returncode == 0, process.stderr
    assert all(record["loss/teacher"] > 0 for record in records(tmp_path / "run", "train"))


def test_demonstrations_in_tokens_that_the_student_has_not(longer):
    options = [f"teacher.path={longer}", "teacher.extra_tokens=drop", "objective=sft"]
    assert "would write them with tokens that the student has not" in refused(*options)


@pytest.fixture
def other_end(copied):
    """A teacher that ends with `<|user|>`."""
    edit(copied / "tokenizer_config.json", eos_token="<|user|>")
    (copied / "generation_config.json").unlink()
    return copied


def test_another_end_is_refused_ignored_or_taken_on(other_end):
    message = refused(f"teacher.path={other_end}")
    assert "end a response differently: '<|end|>' and '<|user|>'" in message
    assert "student.end_tokens=['<|user|>'], or teacher.other_eos=ignore" in message
    ignored = row("end of a response", f"teacher.path={other_end}", "teacher.other_eos=ignore")
    assert ignored.state == "note"
    taken = row("end of a response", f"teacher.path={other_end}", "student.end_tokens=['<|user|>']")
    assert taken.state == "in order"
    assert "'<|end|>' or '<|user|>'" in taken.text


def test_the_end_that_is_taken_on_ends_responses(student_model, tokenizer):
    also = tokenizer.get_vocab()["<|user|>"]
    assert eos_ids(student_model, tokenizer, ["<|user|>"]) == tuple(sorted({tokenizer.eos_token_id, also}))


def test_an_end_that_is_no_token():
    assert "'<|ned|>' is no token of tiny:large-gap; did you mean '<|end|>'?" in refused(
        "student.end_tokens=['<|ned|>']"
    )


def test_a_student_without_an_end(copied):
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (copied / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "needs an EOS token" in refused(f"student.path={copied}")


def test_a_student_without_a_template_can_be_given_one(copied, tmp_path):
    (copied / "chat_template.jinja").unlink()
    assert "needs a chat template; give one: student.chat_template=chatml" in refused(f"student.path={copied}")
    template = tmp_path / "mine.jinja"
    template.write_text("<|user|>{{ messages[0]['content'] }}<|assistant|>")
    found = row("chat template", f"student.path={copied}", f"student.chat_template={template}")
    assert (found.state, found.text) == ("in order", f"{template}: '<|user|>What is 2+3?<|assistant|>'")
    tokenizer = load_tokenizer(str(copied), chat_template=str(template))
    tokenizer.save_pretrained(tmp_path / "saved")  # as a checkpoint does
    assert load_tokenizer(str(tmp_path / "saved")).chat_template == template.read_text()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system turn') }}", "does not render: no system turn"),
        ("{% if %}", "does not render"),
        ("<|user|>", "leaves the problem out"),
    ],
)
def test_templates_that_do_not_work(tmp_path, template, words):
    (tmp_path / "t.jinja").write_text(template)
    assert words in refused(f"student.chat_template={tmp_path / 't.jinja'}")


def test_a_template_that_is_not_there():
    assert "student.chat_template=chatlm: no such file; did you mean 'chatml'?" in refused(
        "student.chat_template=chatlm"
    )


def test_the_templates_that_ship(tokenizer):
    turn, user = [{"role": "user", "content": "2+3?"}], "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n"
    system = "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
    expected = {"chatml": user, "qwen-math": system + user, "qwen-math-think": system + user + "<think>\n"}
    assert {path.stem for path in TEMPLATES.iterdir()} == set(expected)
    for name, prompt in expected.items():
        template = load_tokenizer("tiny:teacher", chat_template=name)
        assert template.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) == prompt
