"""Measures what a model card reports of a tiny model: accuracy, and the policy gap to the teacher."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from tgpo.evaluation.accuracy import Evaluation, evaluate
from tgpo.rollout.base import Sampling
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad, pad_logprobs
from tgpo.seeds import derived_seed
from tgpo.tasks.arithmetic import Arithmetic
from tgpo.tasks.base import Questions
from tgpo.teachers.hf import HFTeacher
from tgpo.tiny.privileged import TEXTS, Shown
from tgpo.types.teacher import TeacherQuery

CAP = 96
ROWS_AT_ONCE = 512
GAP_PROMPTS, GAP_GROUP = 64, 8
GREEDY, SAMPLED = Sampling(1, 0.0, CAP, 0), Sampling(4, 1.0, CAP, 0)


def accuracy(
    model: PreTrainedModel, tokenizer: Any, task: Questions | None = None, sampling: Sampling = GREEDY
) -> Evaluation:
    """Evaluates responses to the task's held-out problems; None is for plain sums."""
    engine = HFRollout(model, tokenizer, [int(tokenizer.eos_token_id)])
    return evaluate(task or Arithmetic(), engine, tokenizer, sampling, ROWS_AT_ONCE)


def use_of_texts(model: PreTrainedModel, tokenizer: Any) -> dict[str, float]:
    """Returns accuracies, by what is measured, of a model that reads privileged texts: with each text of the problem's
    own, greedy and sampled, with each of another problem, and sampled without any."""
    ways: list[tuple[str, Questions, Sampling]] = [("accuracy at temperature 1", Arithmetic(), SAMPLED)]
    for text in TEXTS:
        ways.append((f"greedy accuracy with the {text}", Shown(text), GREEDY))
        ways.append((f"accuracy at temperature 1 with the {text}", Shown(text), SAMPLED))
        ways.append((f"greedy accuracy with another problem's {text}", Shown(text, own=False), GREEDY))
    return {
        what: accuracy(model, tokenizer, questions, sampling).metrics[f"eval/{questions.name}/accuracy"]
        for what, questions, sampling in ways
    }


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
