"""Samples responses from student and teacher, and scores the student's tokens with both models.

Values are summed for each prompt as they are computed; of single tokens, only the log-ratio is kept.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tgpo.build.load import load_rollout, load_student, prepare
from tgpo.build.teachers import load_scorers
from tgpo.config.request import Request
from tgpo.config.sizes import longest_sequence, training_problems
from tgpo.divergence.bootstrap import Array, Pooled, Ratio
from tgpo.divergence.request import DivergenceOptions
from tgpo.divergence.rows import RowStatistics
from tgpo.errors import RequestError
from tgpo.functional.batching import by_token_budget
from tgpo.metrics.agreement import sampled_token_values
from tgpo.models.loading import eos_ids, load_tokenizer
from tgpo.models.policy import Policy
from tgpo.rollout.base import RolloutEngine, Sampling, decode_responses, in_parts
from tgpo.rollout.hf import HFRollout
from tgpo.rollout.padding import pad
from tgpo.seeds import derived_seed
from tgpo.teachers.hf import HFTeacher
from tgpo.teachers.panel import Asked, Member, Panel
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Answered, Problem, Rollout
from tgpo.types.teacher import TeacherQuery

PARTS = 20  # the rollouts are scored in at least this many, to report progress
ReportProgress = Callable[[str, int, int], None]  # stage, amount done, total


@dataclass(frozen=True)
class Counted:
    """The data of the report: sums for each prompt, and values of single tokens or responses."""

    prompts: int
    tokens: int
    ratios: dict[str, Ratio]
    pooled: dict[str, Pooled]
    without_text: int = 0  # responses left out, because the teacher's context has no text for them


@dataclass(frozen=True)
class Responses:
    """`prompt_B` is the index of each response's prompt."""

    rollouts: Sequence[Rollout]
    prompt_B: Array

    @property
    def length_B(self) -> Array:
        return np.array([len(r.response_ids) for r in self.rollouts])

    @property
    def ended_B(self) -> Array:
        return np.array([r.finish_reason == "eos" for r in self.rollouts])


def measure(request: Request, options: DivergenceOptions, problems: Sequence[Problem], tell: ReportProgress) -> Counted:
    """Loads both models, samples from both, scores the student's tokens with both."""
    run, train = request.options, request.options.train
    device = prepare(run)
    student = load_student(run, device)
    tokenizer, ends, longest = student.tokenizer, student.ends, longest_sequence(request, student.tokenizer)
    policy = Policy(student.model, len(tokenizer), train.max_logits, train.dtype)
    sampler = load_rollout(request, student, longest)
    sampler.sync(0)
    student_responses = respond(sampler, problems, request, options, "student", tell)
    panel = load_scorers(request, policy, device, tokenizer).panel
    (teacher,) = request.teachers
    assert panel is not None and teacher.options.path is not None
    (member,) = panel.members
    model = member.teacher.model if isinstance(member.teacher, HFTeacher) else policy.model
    own_tokenizer = load_tokenizer(teacher.options.path, teacher.options.revision, date=run.student.date)
    reader = own_tokenizer if member.prompts is None else member.prompts.tokenizer
    teacher_sampler = HFRollout(model, reader, eos_ids(model, own_tokenizer), train.dtype)
    teacher_responses = respond(teacher_sampler, read_by(member, problems), request, options, "teacher", tell)
    rows, pad_id = RowStatistics(options, ends), int(tokenizer.pad_token_id or 0)
    asked = panel.ask(answered(request, student_responses, tokenizer), pad(student_responses.rollouts, pad_id))
    counted = score(
        student_responses, len(problems), policy, panel, asked, rows, train.max_tokens_per_micro_batch, tell
    )
    ratios, pooled = dict(counted.ratios), dict(counted.pooled)
    for who, responses in {"student": student_responses, "teacher": teacher_responses}.items():
        ratios |= length_ratios(who, responses, len(problems))
        pooled[f"{who}/length"] = Pooled(responses.length_B, responses.prompt_B)
    return replace(counted, ratios=ratios, pooled=pooled)


def read_by(member: Member, problems: Sequence[Problem]) -> list[Problem]:
    """Returns what the teacher reads when it responds itself: its prompts, or where these need a response of the
    student's, or there is no text, the problem."""
    if member.prompts is None or member.prompts.context.needs_rewards:
        return list(problems)
    turns = member.prompts.turns([Answered(problem, "", 0.0, i) for i, problem in enumerate(problems)])
    return [problem if turn is None else turn for problem, turn in zip(problems, turns, strict=True)]


def answered(request: Request, responses: Responses, tokenizer: Any) -> list[Answered]:
    """Returns the student's responses as a context reads them; they are verified only if it asks for that."""
    texts = decode_responses(tokenizer, responses.rollouts)
    problems = [rollout.problem for rollout in responses.rollouts]
    (teacher,) = request.teachers
    rewards = request.task.rewards(problems, texts).values if teacher.context.needs_rewards else [0.0] * len(texts)
    rows = zip(problems, texts, rewards, responses.prompt_B.tolist(), strict=True)
    return [Answered(*row) for row in rows]


def choose(request: Request, options: DivergenceOptions) -> list[Problem]:
    """Returns the distinct problems, or a sample of them, drawn with the seed, if there are more than requested."""
    training = options.problems == "training"
    candidates = training_problems(request) if training else request.task.eval_problems()
    distinct = list({(problem.id, problem.prompt): problem for problem in candidates}.values())
    if len(distinct) < 2:
        raise RequestError(
            f"divergence.problems={options.problems}: the task has {len(distinct)} of them; an interval by prompt "
            "needs two or more"
        )
    drawn = random.Random(f"divergence/{request.options.seed}").sample(
        range(len(distinct)), min(options.prompts, len(distinct))
    )
    return [distinct[i] for i in sorted(drawn)]


def respond(
    sampler: RolloutEngine,
    problems: Sequence[Problem],
    request: Request,
    options: DivergenceOptions,
    who: str,
    tell: ReportProgress,
) -> Responses:
    rollout, total = request.options.rollout, len(problems) * options.samples
    seed = derived_seed(request.options.seed, f"divergence/{who}", 0)
    sampling = Sampling(options.samples, rollout.temperature, rollout.max_response_length, seed)
    responses: list[Rollout] = []
    tell(f"{who} responds", 0, total)
    for part in in_parts(sampler, problems, sampling, request.options.eval.rows_at_once):
        responses += part
        tell(f"{who} responds", len(responses), total)
    return Responses(responses, np.arange(len(responses)) // options.samples)


def length_ratios(who: str, responses: Responses, prompts: int) -> dict[str, Ratio]:
    """Returns ratios of the responses' lengths. A response cut off at the cap counts with the tokens it has."""

    def by_prompt(values_B: Array) -> Array:
        return np.bincount(responses.prompt_B, weights=values_B, minlength=prompts)

    length_B, ended_B = responses.length_B, responses.ended_B
    count_P = by_prompt(np.ones(len(length_B)))
    return {
        f"{who}/length_mean": Ratio(by_prompt(length_B), count_P),
        f"{who}/length_ended_mean": Ratio(by_prompt(length_B * ended_B), by_prompt(ended_B)),
        f"{who}/ended_fraction": Ratio(by_prompt(ended_B), count_P),
    }


@torch.no_grad()
def score(
    responses: Responses,
    prompts: int,
    policy: Policy,
    panel: Panel,
    asked: Asked,
    rows: RowStatistics,
    max_tokens: int,
    tell: ReportProgress,
) -> Counted:
    """Returns sums over the student's tokens, prompt by prompt. They do not depend on how the rollouts are split."""
    tokens = pad(responses.rollouts, panel.pad_id)
    taught = asked.taught_B.nonzero()[:, 0]
    if not len(taught):
        raise RequestError("the teacher's context has no text for any response; choose another teacher.context")
    sums: dict[str, Array] = defaultdict(lambda: np.zeros(prompts))
    log_ratios, of_prompts = [], []
    done, total = 0, int(tokens.mask_BT[taught].sum())
    prompt_B, ended_B = torch.tensor(responses.prompt_B), torch.tensor(responses.ended_B)
    length_B = torch.maximum(tokens.length_B, asked.tokens.length_B)[taught]
    widest = int(length_B.max())
    for places in by_token_budget(length_B, min(max_tokens, max(widest, int(length_B.sum()) // PARTS))):
        picked = taught[places]
        part = tokens.select(picked)
        real = part.mask_BT > 0
        prompt_N = prompt_B[picked][:, None].expand_as(real)[real].numpy()
        values = token_values(part.to(policy.device), asked.select(picked).to(policy.device), policy, panel, rows)
        last_N = is_last(part.mask_BT, ended_B[picked])[real].double().numpy()
        for name, values_N in weighted(values, last_N).items():
            sums[name] += np.bincount(prompt_N, weights=values_N, minlength=prompts)
        log_ratios.append(values["reverse_kl_k1"].astype(np.float32))
        of_prompts.append(prompt_N)
        done += len(prompt_N)
        tell("both score the student's tokens", done, total)
    pooled = Pooled(np.concatenate(log_ratios), np.concatenate(of_prompts))
    return Counted(prompts, total, ratios_of(sums), {"log_ratio": pooled}, len(tokens.mask_BT) - len(taught))


def token_values(
    tokens: TokenBatch, asked: Asked, policy: Policy, panel: Panel, rows: RowStatistics
) -> dict[str, Array]:
    """Returns values by name, float64 `[N]` over the tokens that are not padding, row by row."""
    query = TeacherQuery(sampled=True, topk=1, full=True)
    signal = panel.score(asked, query)
    student, real = policy(tokens, signal, divergence=rows), tokens.mask_BT > 0
    if not student.logprobs_BT[real].isfinite().all():
        raise RequestError("some of the student's log-probabilities are not finite; check its weights and student.path")
    values: dict[str, Tensor] = sampled_token_values(tokens.response_BT, student.logprobs_BT, signal)
    values["student_surprise"] = -student.logprobs_BT
    assert student.divergence_BT is not None
    values |= dict(zip(rows.names, student.divergence_BT.unbind(-1), strict=True))
    return {name: values_BT[real].double().cpu().numpy() for name, values_BT in values.items()}


def is_last(mask_BT: Tensor, ended_B: Tensor) -> Tensor:
    """Returns, for each token, whether it is the EOS that ends its response."""
    columns_T = torch.arange(mask_BT.shape[1])
    return (columns_T == mask_BT.sum(1)[:, None] - 1) & ended_B[:, None]


def weighted(values: dict[str, Array], last_N: Array) -> dict[str, Array]:
    """Returns the values to sum; the probability of EOS is split into where the student ended and where it went on."""
    summed = {name: values_N for name, values_N in values.items() if not name.endswith("_eos")}
    for who in ("student", "teacher"):
        summed[f"{who}_eos_at_end"] = values[f"{who}_eos"] * last_N
        summed[f"{who}_eos_before_end"] = values[f"{who}_eos"] * (1 - last_N)
    return summed | {"tokens": np.ones_like(last_N), "ends": last_N, "goes_on": 1 - last_N}


def ratios_of(sums: dict[str, Array]) -> dict[str, Ratio]:
    """Returns means over tokens; those of EOS are over the positions where the student ended, or where it went on."""
    kinds = {"_eos_at_end": sums["ends"], "_eos_before_end": sums["goes_on"]}
    ratios = {}
    for name, sum_P in sums.items():
        if name not in ("tokens", "ends", "goes_on"):
            of = next((count_P for ending, count_P in kinds.items() if name.endswith(ending)), sums["tokens"])
            ratios[name] = Ratio(sum_P, of)
    return ratios
