"""The vllm teacher against the hf teacher, whose own test is against a naive forward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.contexts.batch import shown
from tests.vllm_engines import OPTIONS
from tgpo.models.vllm import make_engine
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.base import check_signal
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.vllm import VLLMTeacher
from tgpo.types.teacher import TeacherQuery

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

# nats, in float32; of a token at -10 the eighth digit of its logit counts
EXACT = {"rtol": 1e-5, "atol": 1e-4}


@pytest.fixture(scope="module")
def tokens(student_model, tokenizer):
    problems = Arithmetic().train_problems(0, 1, 16)
    return pad(HFRollout(student_model, tokenizer, [1]).generate(problems, Sampling(2, 1.0, 60, 0)), 0)


@pytest.fixture(scope="module", params=[None, 64], ids=["whole", "chunked"])
def teacher(request):
    """Prompts go through in one piece, or a few tokens at a time."""
    chunk = {} if request.param is None else {"max_num_batched_tokens": request.param, "max_num_seqs": 8}
    return VLLMTeacher(make_engine("tiny:teacher", "float32", OPTIONS, 0.3, 128, 101, max_logprobs=8, **chunk))


@pytest.mark.parametrize("topk", [0, 1, 8])
def test_agrees_with_the_hf_teacher(teacher, tokens, teacher_model, topk):
    query = TeacherQuery(topk=topk)
    ours = teacher.score(tokens, query)
    theirs = HFTeacher(teacher_model, 101, 2**24, 10_000).score(tokens, query)
    check_signal(ours, query, tokens, 101)
    torch.testing.assert_close(ours.sampled_logprobs_BT, theirs.sampled_logprobs_BT, **EXACT)
    if topk:
        torch.testing.assert_close(ours.topk_logprobs_BTK, theirs.topk_logprobs_BTK, **EXACT)
        apart = theirs.topk_logprobs_BTK[..., 0] - theirs.topk_logprobs_BTK[..., -1] > 1e-3
        assert torch.equal(ours.topk_ids_BTK[..., 0][apart], theirs.topk_ids_BTK[..., 0][apart])


def test_a_prompt_of_its_own_goes_before_the_same_response(teacher, student_model, teacher_model, tokenizer):
    asked, panels = shown(student_model, tokenizer, [teacher, HFTeacher(teacher_model, 101, 2**24, 10_000)])
    ours, theirs = (panel.score(asked, TeacherQuery(topk=4)) for panel in panels)
    torch.testing.assert_close(ours.sampled_logprobs_BT, theirs.sampled_logprobs_BT, **EXACT)
    torch.testing.assert_close(ours.topk_logprobs_BTK, theirs.topk_logprobs_BTK, **EXACT)
    assert not ours.sampled_logprobs_BT[~asked.taught_B].any()


def test_a_shift_by_one_would_be_seen(teacher, tokens, teacher_model):
    """Scored one position late, the same numbers are nowhere near."""
    theirs = HFTeacher(teacher_model, 101, 2**24, 10_000).score(tokens, TeacherQuery())
    late = replace(tokens, response_BT=tokens.response_BT.roll(1, 1))
    shifted = teacher.score(late, TeacherQuery()).sampled_logprobs_BT
    assert (shifted - theirs.sampled_logprobs_BT).abs().max() > 1
