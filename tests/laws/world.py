"""A world small enough to enumerate: every sequence, its probability, and the gradient of what is claimed.

Vocabulary 3, horizon 3, no end; the policies are tables of logits over (position, previous token), so what a token
does to later states is real. Everything is float64. What an objective claims to descend is said in its own test, as
`claim(objective, world)`, in probabilities and without the package's functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from tests.conformance import adapter
from tgpo.functional.reduce import reduce, token_weights
from tgpo.types.batch import ScoredBatch, TokenBatch
from tgpo.types.scores import StudentScores

V, T = 3, 3
SEQUENCES = torch.tensor(list(product(range(V), repeat=T)))
EOS = (0,)  # read by mask_eos alone: here no token ends anything


def table(seed: int) -> Tensor:
    """Logits `[T, previous, V]`; position 0 uses previous token 0."""
    return torch.randn(T, V, V, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def logits_of(policy: Tensor, tokens_BT: Tensor) -> Tensor:
    previous_BT = torch.cat([torch.zeros_like(tokens_BT[:, :1]), tokens_BT[:, :-1]], 1)
    return policy[torch.arange(tokens_BT.shape[1]), previous_BT]


def reward_of(tokens_BT: Tensor) -> Tensor:
    """Right when the tokens sum to an even number: depends on all of them."""
    return (tokens_BT.sum(1) % 2 == 0).double()


REFERENCE = table(7)  # the student as it was before training: neither the student nor the teacher


@dataclass(frozen=True)
class World:
    """A student with gradient, a teacher, the reference, and expectations over what the first two would write. S runs
    over all sequences."""

    policy: Tensor
    teacher: Tensor

    @property
    def ours_STV(self) -> Tensor:
        return logits_of(self.policy, SEQUENCES).softmax(-1)

    @property
    def theirs_STV(self) -> Tensor:
        return logits_of(self.teacher, SEQUENCES).softmax(-1)

    @property
    def reference_STV(self) -> Tensor:
        return logits_of(REFERENCE, SEQUENCES).softmax(-1)

    @property
    def written_ST(self) -> Tensor:
        """Probability the student gives each token of each sequence."""
        return self.ours_STV.gather(-1, SEQUENCES[..., None])[..., 0]

    @property
    def log_ratio_ST(self) -> Tensor:
        """`log pi_theta(a_t) - log pi_T(a_t)`."""
        return self.written_ST.log() - self.theirs_STV.gather(-1, SEQUENCES[..., None])[..., 0].log()

    @property
    def student_S(self) -> Tensor:
        return self.written_ST.prod(1)

    @property
    def teacher_S(self) -> Tensor:
        return self.theirs_STV.gather(-1, SEQUENCES[..., None])[..., 0].prod(1)

    @property
    def reward_S(self) -> Tensor:
        return reward_of(SEQUENCES)

    @property
    def success(self) -> Tensor:
        """The student's probability of being right, with gradient."""
        return (self.student_S * self.reward_S).sum()

    def on_own(self, value_ST: Tensor) -> Tensor:
        """Mean over the tokens the student writes; which states it visits carries no gradient."""
        return (self.student_S.detach()[:, None] * value_ST).sum() / T

    def on_theirs(self, value_ST: Tensor) -> Tensor:
        return (self.teacher_S[:, None] * value_ST).sum() / T

    def minus_success(self, objective) -> Tensor:
        """A pair with unequal rewards has advantages +c and -c, an equal one 0; so `E[A_i | i] = c (R_i - success)`."""
        c = 0.5 / (0.5**0.5 + 1e-6) if objective.normalize_std else 0.5
        return -c * self.success / T

    def reference_part(self, objective) -> Tensor:
        """k2 descends the reverse KL to the reference, and k3 the FORWARD KL."""
        ours, before = self.ours_STV, self.reference_STV
        reverse, forward = (ours * (ours / before).log()).sum(-1), (before * (before / ours).log()).sum(-1)
        return objective.reference_kl * self.on_own(forward if objective.reference_kl_estimator == "k3" else reverse)

    @property
    def reverse_kl(self) -> Tensor:
        return self.on_own((self.ours_STV * (self.ours_STV / self.theirs_STV).log()).sum(-1))

    @property
    def forward_kl(self) -> Tensor:
        return self.on_own((self.theirs_STV * (self.theirs_STV / self.ours_STV).log()).sum(-1))


def batch_of(
    tokens_BT: Tensor, old: Tensor, teacher: Tensor, group_B: Tensor, objective, off_policy_B: Tensor | None = None
) -> ScoredBatch:
    """What the engine hands over, all positions unmasked."""
    nothing = torch.empty(len(tokens_BT), 0, dtype=torch.long)
    written = ScoredBatch(
        tokens=TokenBatch(nothing, nothing, tokens_BT, torch.ones(tokens_BT.shape, dtype=torch.float64)),
        group_B=group_B,
        off_policy_B=torch.zeros(len(tokens_BT), dtype=torch.bool) if off_policy_B is None else off_policy_B,
        reward_B=reward_of(tokens_BT),
        max_response_length=T,
        eos_ids=EOS,
    )
    tables = (logits_of(old, tokens_BT), logits_of(teacher, tokens_BT))
    reference_BTV = logits_of(REFERENCE, tokens_BT)
    return adapter.scored(written, *tables, tokens_BT.roll(1, 0), objective, reference_BTV)


def scores_of(policy: Tensor, batch: ScoredBatch, objective) -> StudentScores:
    return adapter.scores_of(logits_of(policy, batch.tokens.response_BT), batch, objective)


def loss_of(objective, policy: Tensor, batch: ScoredBatch, step: int = 1) -> Tensor:
    """The reduced loss of a whole batch under `policy`, as the trainer reduces it."""
    credit = objective.credit(batch, step)
    weights = token_weights(credit.mask_BT, objective.reduction, batch.max_response_length)
    return reduce(objective.loss(scores_of(policy, batch, objective), batch, credit).loss_BT, weights)


def gradient(value: Tensor, policy: Tensor) -> Tensor:
    return torch.autograd.grad(value, policy)[0]


def every_group(objective, world: World) -> tuple[ScoredBatch, Tensor]:
    """Every group of two responses (or of one, if the objective makes it so) and its probability, `[G]`."""
    mix = objective.mix(0, 2)
    size = mix.student + mix.demonstrations
    picks_GI = torch.cartesian_prod(*[torch.arange(len(SEQUENCES))] * size).view(-1, size)
    theirs_I = torch.arange(size) >= mix.student
    probability_GI = torch.where(theirs_I, world.teacher_S[picks_GI], world.student_S.detach()[picks_GI])
    group_B = torch.arange(len(picks_GI)).repeat_interleave(size)
    off_policy_B = theirs_I.repeat(len(picks_GI))
    batch = batch_of(
        SEQUENCES[picks_GI.flatten()], world.policy.detach(), world.teacher, group_B, objective, off_policy_B
    )
    return batch, probability_GI.prod(1)


def group_losses(objective, world: World) -> tuple[Tensor, Tensor]:
    """The loss of each possible group on its own, `[G]` with gradient, and its probability.

    Where the teacher draws a token at each position, the mean over its draws: a token's loss depends on its own.
    """
    batch, probability_G = every_group(objective, world)
    teacher = batch.teacher
    if teacher is None or teacher.sample_ids_BT is None:
        return token_losses(objective, world, batch).view(len(probability_G), -1).mean(1), probability_G
    loss_BT = torch.zeros(())
    for token in range(V):
        drawn = replace(teacher, sample_ids_BT=torch.full_like(teacher.sample_ids_BT, token))
        share_BT = logits_of(world.teacher, batch.tokens.response_BT).softmax(-1)[..., token]
        loss_BT = loss_BT + share_BT * token_losses(objective, world, replace(batch, teacher=drawn))
    return loss_BT.view(len(probability_G), -1).mean(1), probability_G


def token_losses(objective, world: World, batch: ScoredBatch) -> Tensor:
    # all sequences are equally long, so that every reduction of a group is the plain mean over its tokens
    return objective.loss(scores_of(world.policy, batch, objective), batch, objective.credit(batch, 1)).loss_BT


def expected_gradient(objective, world: World) -> Tensor:
    """`E[gradient of the loss]`, every possible group weighted by its probability under who wrote it."""
    loss_G, probability_G = group_losses(objective, world)
    return gradient((loss_G * probability_G).sum(), world.policy)
