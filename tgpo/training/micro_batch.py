"""One micro-batch of an update: the student's forward pass, the reduced loss, and the values to log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from tgpo.functional.reduce import reduce
from tgpo.metrics.agreement import topk_overlap
from tgpo.models.policy import Policy
from tgpo.objectives.base import Objective
from tgpo.runtime import collectives
from tgpo.teachers.panel import Asked
from tgpo.training.updates import Update
from tgpo.types.batch import ScoredBatch
from tgpo.types.problem import Need
from tgpo.types.scores import Credit, StudentScores, TokenLoss
from tgpo.types.teacher import TeacherSignal

AskTeacher = Callable[[Asked], TeacherSignal]  # returns the teacher's hidden states for a few rows


@dataclass(frozen=True)
class MicroBatch:
    """The rows of an update that share a forward pass, with their data, credit, weights and teacher signal."""

    update: Update
    rows: Tensor
    batch: ScoredBatch
    credit: Credit
    weights_BT: Tensor
    teacher: TeacherSignal | None

    @property
    def width(self) -> int:
        return self.batch.mask_BT.shape[1]


def micro_batch_of(update: Update, rows: Tensor, objective: Objective, ask_teacher: AskTeacher) -> MicroBatch | None:
    """Returns the micro-batch of these rows, or None when there are none.

    A process without rows takes part in the teacher query all the same: the processes that have rows wait for it there.
    """
    batch = update.collected.batch.select(rows) if len(rows) else None
    teacher = teacher_of(update, rows, batch, objective, ask_teacher)
    if batch is None:
        return None
    width = batch.mask_BT.shape[1]
    return MicroBatch(update, rows, batch, update.credit.select(rows, width), update.weights_BT[rows, :width], teacher)


def teacher_of(
    update: Update, rows: Tensor, batch: ScoredBatch | None, objective: Objective, ask_teacher: AskTeacher
) -> TeacherSignal | None:
    """Returns the teacher's signal for these rows.

    It is a part of the signal for the whole batch, unless the objective needs the teacher's hidden states and those of
    the whole batch were too large to keep: then the teacher is queried here.
    """
    batch_signal = update.collected.batch.teacher
    if Need.TEACHER_FULL not in objective.needs or (batch_signal and batch_signal.hidden_BTH is not None):
        return batch.teacher if batch else None
    asked = update.collected.asked
    assert asked is not None
    # without rows, of the shortest: other processes may wait for this one to make a pass with them
    taken = rows if len(rows) else asked.tokens.length_B.argmin()[None]
    signal = collectives.run_beside_others(lambda: ask_teacher(asked.select(taken)))
    return signal if batch else None


def forward(policy: Policy, objective: Objective, micro: MicroBatch) -> tuple[StudentScores, ScoredBatch]:
    """Returns the student's scores, and the batch with the field that is computed from them."""
    student = policy(micro.batch.tokens, micro.teacher, micro.update.observe_topk, objective.divergence)
    batch = micro.batch
    if Need.OLD_AT_TEACHER_TOPK in objective.needs and batch.old_at_teacher_topk_BTK is None:
        # with one update per batch, pi_old is the current policy
        assert student.at_teacher_topk_BTK is not None
        batch = replace(batch, old_at_teacher_topk_BTK=student.at_teacher_topk_BTK.detach())
    return student, batch


def empty_forward(policy: Policy, update: Update) -> Tensor:
    """Returns a loss of 0 from a forward pass that is made only because all processes must make one together."""
    tokens = update.collected.batch.tokens
    student = policy(tokens.select(tokens.length_B.argmin()[None]))
    return student.logprobs_BT.sum() * 0.0


def reduced_loss(micro: MicroBatch, answer: TokenLoss, student: StudentScores, entropy_bonus: float) -> Tensor:
    """Returns this micro-batch's share of `sum(w * loss) - entropy_bonus * mean(entropy)`."""
    loss = reduce(answer.loss_BT, micro.weights_BT)
    if entropy_bonus:
        mean_weights_BT = micro.credit.mask_BT / micro.update.trained_tokens
        loss = loss - entropy_bonus * reduce(student.entropy_BT, mean_weights_BT)
    return loss


def logged_values(micro: MicroBatch, loss: Tensor, answer: TokenLoss, student: StudentScores) -> dict[str, Tensor]:
    """Returns this micro-batch's share of each value to log; the value is the sum over an update's micro-batches."""
    update, mask_BT = micro.update, micro.credit.mask_BT
    token_means = {"policy/entropy": student.entropy_BT.detach(), **answer.token_means}
    own_BT = mask_BT * ~micro.batch.off_policy_B[:, None]
    taught_BT = own_BT * micro.batch.teacher_mask_BT
    return {
        "loss/total": loss.detach(),
        **{f"loss/{name}": reduce(term_BT, micro.weights_BT) for name, term_BT in answer.terms.items()},
        **{name: (value_BT * mask_BT).sum() / update.trained_tokens for name, value_BT in token_means.items()},
        **{name: (value_BT * own_BT).sum() / update.own_tokens for name, value_BT in own_means(micro, student).items()},
        **{
            name: (x_BT * taught_BT).sum() / update.taught_tokens for name, x_BT in taught_means(micro, student).items()
        },
    }


def own_means(micro: MicroBatch, student: StudentScores) -> dict[str, Tensor]:
    """Returns, for each token, the quantities that are averaged over the tokens the student sampled."""
    update = micro.update
    if not (update.first and update.own_tokens):
        return {}
    sampler_BT = update.collected.sampler_logprobs_BT[micro.rows, : micro.width]
    return {"policy/sampler_logprob_gap": (sampler_BT - student.logprobs_BT.detach()).abs()}


def taught_means(micro: MicroBatch, student: StudentScores) -> dict[str, Tensor]:
    """Returns those that are averaged over the tokens that the student sampled and a teacher scored."""
    update = micro.update
    if not (update.observe_topk and update.collected.observed) or student.topk_ids_BTK is None:
        return {}
    teacher_ids_BTK = update.collected.observed.topk_ids_BTK
    assert teacher_ids_BTK is not None
    teacher_ids_BTK = teacher_ids_BTK[micro.rows, : micro.width, : update.observe_topk]
    return {"divergence/topk_overlap": topk_overlap(student.topk_ids_BTK, teacher_ids_BTK)}
