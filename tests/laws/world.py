"""A world small enough to enumerate: every sequence, its probability, and the gradient of what is claimed.

Vocabulary 3, horizon 3, no EOS; the policies are tables of logits over (position, previous token), so what a token
does to later states is real. Everything is float64.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from tgpo.functional.reduce import reduce, token_weights
from tgpo.functional.scoring import score_logits, topk_logits
from tgpo.objectives.base import topk_asked
from tgpo.types import ScoredBatch, StudentScores, TeacherSignal, TokenBatch

V, T = 3, 3
SEQUENCES = torch.tensor(list(product(range(V), repeat=T)))


def table(seed: int) -> Tensor:
    """Logits `[T, previous, V]`; position 0 uses previous token 0."""
    return torch.randn(T, V, V, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def logits_of(policy: Tensor, tokens_BT: Tensor) -> Tensor:
    previous_BT = torch.cat([torch.zeros_like(tokens_BT[:, :1]), tokens_BT[:, :-1]], 1)
    return policy[torch.arange(T), previous_BT]


def sequence_logprobs(policy: Tensor, tokens_BT: Tensor) -> Tensor:
    return logits_of(policy, tokens_BT).log_softmax(-1).gather(-1, tokens_BT[..., None])[..., 0]


def reward_of(tokens_BT: Tensor) -> Tensor:
    """Right when the tokens sum to an even number: depends on all of them."""
    return (tokens_BT.sum(1) % 2 == 0).double()


def batch_of(tokens_BT: Tensor, old: Tensor, teacher: Tensor, group_B: Tensor, objective) -> ScoredBatch:
    mask_BT = torch.ones(tokens_BT.shape, dtype=torch.float64)
    nothing = torch.empty(len(tokens_BT), 0, dtype=torch.long)
    flat = logits_of(teacher, tokens_BT).flatten(0, 1)
    best = topk_logits(flat, tokens_BT.flatten(), max(topk_asked(objective), 1))
    old_best = score_logits(logits_of(old, tokens_BT).flatten(0, 1), tokens_BT.flatten(), best.ids_NK).at_ids_NK
    signal = TeacherSignal(*(x.view(*tokens_BT.shape, *x.shape[1:]) for x in best))
    return ScoredBatch(
        tokens=TokenBatch(nothing, nothing, tokens_BT, mask_BT),
        group_B=group_B,
        off_policy_B=torch.zeros(len(tokens_BT), dtype=torch.bool),
        reward_B=reward_of(tokens_BT),
        old_logprobs_BT=sequence_logprobs(old, tokens_BT).detach(),
        old_at_teacher_topk_BTK=old_best.view(*tokens_BT.shape, -1).detach(),
        teacher=signal.narrow(objective.needs, objective.topk),
        max_response_length=T,
    )


def scores_of(policy: Tensor, batch: ScoredBatch) -> StudentScores:
    """What `policy.py` computes from hidden states, here from the table."""
    tokens_BT = batch.tokens.response_BT
    ids = batch.teacher.topk_ids_BTK if batch.teacher else None
    asked = ids if ids is not None else torch.empty(*tokens_BT.shape, 0, dtype=torch.long)
    scores = score_logits(logits_of(policy, tokens_BT).flatten(0, 1), tokens_BT.flatten(), asked.flatten(0, 1))
    return StudentScores(*(x.view(*tokens_BT.shape, *x.shape[1:]) for x in scores[:3]))


def loss_of(objective, policy: Tensor, batch: ScoredBatch, step: int = 1) -> Tensor:
    """The reduced loss of a whole batch under `policy`, as the trainer reduces it."""
    credit = objective.credit(batch, step)
    weights = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    return reduce(objective.loss(scores_of(policy, batch), batch, credit).loss_BT, weights)


def gradient(value: Tensor, policy: Tensor) -> Tensor:
    return torch.autograd.grad(value, policy)[0]


def expected_gradient(objective, policy: Tensor, teacher: Tensor) -> Tensor:
    """`E[gradient of the loss]` over groups of two rollouts of the policy itself, every pair weighted exactly."""
    count = len(SEQUENCES)
    first, second = (x.flatten() for x in torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij"))
    probability_S = sequence_logprobs(policy, SEQUENCES).sum(1).exp().detach()
    weight_P = probability_S[first] * probability_S[second]
    tokens_BT = SEQUENCES[torch.stack([first, second], 1).flatten()]
    group_B = torch.arange(len(first)).repeat_interleave(2)
    batch = batch_of(tokens_BT, policy.detach(), teacher, group_B, objective)
    loss_BT = objective.loss(scores_of(policy, batch), batch, objective.credit(batch, 1)).loss_BT
    # all sequences are equally long, so a pair's loss is a plain mean over its tokens
    return gradient((loss_BT.view(len(first), -1).mean(1) * weight_P).sum(), policy)
