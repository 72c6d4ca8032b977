"""The teachers of a run: each response is scored by one of them, after the prompt that this teacher reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tgpo.contexts.prompts import TeacherPrompts
from tgpo.rollout.padding import left_pad
from tgpo.teachers.base import Teacher, check_signal
from tgpo.teachers.route import routed
from tgpo.types.batch import TokenBatch
from tgpo.types.problem import Answered
from tgpo.types.teacher import Head, TeacherQuery, TeacherSignal

NOBODY = -1  # the number of the teacher of a response that none scores


@dataclass
class Member:
    """One teacher; without `prompts` it reads exactly what the student reads."""

    name: str
    teacher: Teacher
    prompts: TeacherPrompts | None = None


@dataclass(frozen=True)
class Asked:
    """What the teachers read: the students' responses after the teachers' prompts, and whose turn each is.

    `member_B` is the number of the teacher that scores a response, NOBODY if there is no text to show it or the text is
    too long for it. `too_long` counts the latter.
    """

    tokens: TokenBatch
    member_B: Tensor
    too_long: int = 0
    own_prompts: bool = False  # whether a teacher reads anything else than what the student reads
    names: tuple[str, ...] = ()  # of the teachers, by their numbers

    @property
    def taught_B(self) -> Tensor:
        return self.member_B != NOBODY

    def to(self, device: torch.device) -> Asked:
        return replace(self, tokens=self.tokens.to(device), member_B=self.member_B.to(device))

    def select(self, rows: Tensor) -> Asked:
        return replace(self, tokens=self.tokens.select(rows), member_B=self.member_B[rows])


class Panel:
    """One or several teachers.

    Args:
        route: what decides between several: `task` (the name of a problem's task) or a name in `Problem.extra`. Its
            value is the name of the teacher.
        vocabulary: the size of the student's tokenizer.
    """

    def __init__(self, members: Sequence[Member], vocabulary: int, pad_id: int, route: str | None = None) -> None:
        self.members, self.vocabulary, self.pad_id, self.route = list(members), vocabulary, pad_id, route
        self.names = tuple(member.name for member in members)

    @property
    def states_width(self) -> int | None:
        """The width of the hidden states if those of a whole batch may be kept, otherwise None."""
        widths = [member.teacher.states_width for member in self.members]
        known = [width for width in widths if width is not None]
        return max(known) if len(known) == len(widths) else None

    @property
    def together(self) -> bool:
        """Whether all processes must ask together, because each holds a part of a teacher's weights."""
        return any(member.teacher.together for member in self.members)

    @property
    def reads_what_the_student_reads(self) -> bool:
        return all(member.prompts is None for member in self.members)

    def ask(self, answered: Sequence[Answered], tokens: TokenBatch) -> Asked:
        """Assigns each response to a teacher and puts that teacher's prompt before it; the response keeps its ids."""
        device = tokens.response_BT.device
        member_B = torch.tensor([routed(each.problem, self.route, self.names) for each in answered], device=device)
        if self.reads_what_the_student_reads:
            return Asked(tokens, member_B, names=self.names)
        prompts: list[tuple[int, ...]] = [prompt for prompt, _ in tokens.sequences()]
        lengths, too_long = tokens.mask_BT.sum(1).long().tolist(), 0
        for number, member in enumerate(self.members):
            if member.prompts is None:
                continue
            rows = (member_B == number).nonzero()[:, 0].tolist()
            room = member.prompts.room
            # all responses are given, because a context may quote others of the batch
            encoded = member.prompts.encode(answered)
            for row in rows:
                ids = encoded[row]
                if ids is None or (room is not None and len(ids) + lengths[row] > room):
                    member_B[row], too_long = NOBODY, too_long + (ids is not None)
                else:
                    prompts[row] = ids
        prompt_BP, prompt_mask_BP = (x.to(device) for x in left_pad(prompts, self.pad_id))
        tokens = replace(tokens, prompt_BP=prompt_BP, prompt_mask_BP=prompt_mask_BP)
        return Asked(tokens, member_B, too_long, True, self.names)

    def score(self, asked: Asked, query: TeacherQuery) -> TeacherSignal:
        """Returns the scores that `query` requests, each response's from its teacher; 0 where none scores it."""
        if len(self.members) == 1 and bool(asked.taught_B.all()):
            return self._checked(self.members[0].teacher, asked.tokens, query)
        parts = [self._part(number, asked, query) for number in range(len(self.members))]
        return joined([part for part in parts if part is not None], asked.tokens.mask_BT, self.vocabulary)

    def _part(self, number: int, asked: Asked, query: TeacherQuery) -> Part | None:
        """Returns this teacher's scores of its responses; None if it has none and nothing waits for it.

        It is asked of one response all the same if other processes make the pass together with this one, or if no
        teacher has a response: the signal then still has its shape.
        """
        teacher, rows = self.members[number].teacher, (asked.member_B == number).nonzero()[:, 0]
        nobody = number == 0 and not bool(asked.taught_B.any())
        if not len(rows) and not (teacher.together or nobody):
            return None
        taken = rows if len(rows) else asked.tokens.length_B.argmin()[None]
        part = asked.tokens.select(taken)
        return Part(number, rows, self._checked(teacher, part, query.select(taken, part.mask_BT.shape[1])))

    def _checked(self, teacher: Teacher, tokens: TokenBatch, query: TeacherQuery) -> TeacherSignal:
        signal = teacher.score(tokens, query)
        check_signal(signal, query, tokens, self.vocabulary)
        return signal


class Part(NamedTuple):
    """A teacher's scores of its rows of a batch; with no rows, of one row that only gives the shape."""

    number: int
    row_N: Tensor
    signal: TeacherSignal


def joined(parts: Sequence[Part], mask_BT: Tensor, vocabulary: int) -> TeacherSignal:
    """Returns one signal for the whole batch. Hidden states of different teachers have different heads: each position's
    states are padded to the widest and end with the number of their teacher, by which `RoutedHead` finds its head."""
    if len(parts) > 1:
        states = [part.signal.hidden_BTH for part in parts]
        widest = max((state.shape[-1] for state in states if state is not None), default=0)
        parts = [part._replace(signal=labelled(part.signal, part.number, widest)) for part in parts]
    grids: dict[str, Any] = {}
    for _, row_N, signal in parts:
        for name, values in vars(signal).items():
            if isinstance(values, Tensor):
                grid = grids.setdefault(name, values.new_zeros(*mask_BT.shape, *values.shape[2:]))
                grid[row_N, : values.shape[1]] = values[: len(row_N)]
    heads = {part.number: part.signal.head for part in parts if part.signal.head is not None}
    head = RoutedHead(heads, vocabulary) if len(parts) > 1 and heads else next(iter(heads.values()), None)
    return TeacherSignal(**grids, head=head)


def labelled(signal: TeacherSignal, number: int, widest: int) -> TeacherSignal:
    states_BTH = signal.hidden_BTH
    if states_BTH is None:
        return signal
    padded_BTH = torch.nn.functional.pad(states_BTH, (0, widest - states_BTH.shape[-1]))
    label_BT1 = states_BTH.new_full((*states_BTH.shape[:2], 1), number)  # exact in bfloat16 up to 256
    return replace(signal, hidden_BTH=torch.cat([padded_BTH, label_BT1], -1))


class RoutedHead:
    """Applies to each row of hidden states the head of the teacher whose number is the row's last entry."""

    def __init__(self, heads: Mapping[int, Head], vocabulary: int) -> None:
        self.heads, self.vocabulary = heads, vocabulary

    def __call__(self, hidden_NH: Tensor) -> Tensor:
        states_NH, number_N = hidden_NH[:, :-1], hidden_NH[:, -1].round().long()
        logits_NV: Tensor | None = None
        for number, head in self.heads.items():
            row_M = (number_N == number).nonzero()[:, 0]
            width = getattr(head, "in_features", states_NH.shape[1])
            logits_MV = head(states_NH[row_M, :width])[:, : self.vocabulary]
            if logits_NV is None:
                logits_NV = logits_MV.new_zeros(len(hidden_NH), self.vocabulary)
            logits_NV[row_M] = logits_MV
        assert logits_NV is not None
        return logits_NV
