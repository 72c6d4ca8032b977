"""Measures what a model card reports of a tiny model: greedy accuracy, and the policy gap to the teacher."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from tgpo.evaluation.accuracy import Evaluation, evaluate
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad, pad_logprobs
from tgpo.seeds import derived_seed
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.teachers.hf import HFTeacher
from tgpo.types.teacher import TeacherQuery

CAP = 96
ROWS_AT_ONCE = 512
GAP_PROMPTS, GAP_GROUP = 64, 8


def accuracy(model: PreTrainedModel, tokenizer: Any, task: Arithmetic | None = None) -> Evaluation:
    """Evaluates greedy responses to the task's held-out problems."""
    engine = HFRollout(model, tokenizer, [int(tokenizer.eos_token_id)])
    return evaluate(task or Arithmetic(), engine, tokenizer, Sampling(1, 0.0, CAP, 0), ROWS_AT_ONCE)


def policy_gap(student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: Any) -> tuple[float, float]:
    """Returns the reverse KL (k1, nats per token) and the mismatch before any training.

    The mismatch is the fraction of sampled tokens that are not the teacher's argmax.
    """
    engine = HFRollout(student, tokenizer, [int(tokenizer.eos_token_id)])
    problems = Arithmetic().train_problems(0, 1, GAP_PROMPTS)
    rollouts = engine.generate(problems, Sampling(GAP_GROUP, 1.0, CAP, derived_seed(0, "rollout", 1)))
    tokens = pad(rollouts, int(tokenizer.pad_token_id))
    scores = HFTeacher(teacher, len(tokenizer), max_logits=2**24, max_tokens=2**14).score(tokens, TeacherQuery(topk=1))
    assert scores.sampled_logprobs_BT is not None and scores.topk_ids_BTK is not None
    gap_BT = pad_logprobs(rollouts, tokens.mask_BT) - scores.sampled_logprobs_BT
    differs_BT = (scores.topk_ids_BTK[..., 0] != tokens.response_BT) * tokens.mask_BT
    total = tokens.mask_BT.sum()
    return float((gap_BT * tokens.mask_BT).sum() / total), float(differs_BT.sum() / total)
