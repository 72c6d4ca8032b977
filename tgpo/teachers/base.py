"""What a teacher is: token ids -> TeacherSignal."""

from __future__ import annotations

from typing import Protocol

from tgpo.types import TeacherSignal, TokenBatch


class Teacher(Protocol):
    """Scores the student's tokens in the student's own states, at temperature 1, in float32."""

    def score(self, tokens: TokenBatch, topk: int) -> TeacherSignal:
        """Log-probabilities of the tokens and, when `topk` > 0, the teacher's `topk` best ones at each position."""
        ...
