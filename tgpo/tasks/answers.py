"""From a row's answer to a gold one, and from a response to its reward, for problems that are rows of a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from tgpo.tasks.base import Rewards
from tgpo.tasks.verifier import last_boxed, verify_responses

AnswerForm = Literal["verbatim", "after_hashes", "last_boxed"]

THINK_END = "</think>"
LETTER = re.compile(r"(?:\\[a-z]+\{)*[\s({$]*([A-Z])(?:[\s)}$]*$|[).:])")


def gold_answer(value: Any, form: AnswerForm) -> str | None:
    """The answer in a cell, or None when there is none.

    `verbatim`: the cell, a list joined by commas, a whole number without its `.0`, `4.5e33` as TeX writes it;
    `after_hashes`: what follows the last `####`, without thousands separators (GSM8K); `last_boxed`: what the last
    `\\boxed{}` holds.
    """
    if isinstance(value, list):
        parts = [gold_answer(part, form) for part in value]
        return None if None in parts or not parts else ", ".join(filter(None, parts))
    if value is None:
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if form == "after_hashes":
        _, mark, after = text.rpartition("####")
        return re.sub(r"(?<=\d),(?=\d{3})", "", after.strip()) if mark else None
    if form == "last_boxed":
        return last_boxed(text)
    return text


def question(value: Any) -> tuple[str | None, str | None]:
    """Question and system prompt of a cell: text, or chat messages of one user turn after at most one system turn.

    Other conversations are no single question: (None, None).
    """
    if not isinstance(value, list):
        return (None if value is None else str(value)), None
    if not all(isinstance(m, dict) and all(isinstance(m.get(k), str) for k in ("role", "content")) for m in value):
        return None, None
    roles = [message["role"] for message in value]
    if roles not in (["user"], ["system", "user"]):
        return None, None
    return value[-1]["content"], value[0]["content"] if len(value) == 2 else None


def judge(golds: Sequence[str], responses: Sequence[str], *, require_boxed: bool, require_think_end: bool) -> Rewards:
    """math-verify's rewards; with `require_think_end`, of what follows `</think>` alone, and 0 where that is missing
    (the reward of TGPO, arXiv 2605.13230)."""
    if require_think_end:
        responses = [after_thinking(response) for response in responses]
    return verify_responses(golds, responses, require_boxed=require_boxed)


def after_thinking(response: str) -> str:
    """What follows the last `</think>`; nothing, and so no answer, where there is none."""
    _, mark, after = response.rpartition(THINK_END)
    return after if mark else ""


def judge_letters(golds: Sequence[str], responses: Sequence[str], *, require_think_end: bool) -> Rewards:
    """1 where the boxed letter is the gold one. Letters are compared as they are: to math-verify they are variables."""
    if require_think_end:
        responses = [after_thinking(response) for response in responses]
    return Rewards([float(letter(r) == gold) for gold, r in zip(golds, responses, strict=True)])


def letter(response: str) -> str | None:
    """The option in the last box: `B` of `B`, `(B)`, `\\text{B}`, `B. four moles`; None of a text that begins with no
    letter of its own."""
    boxed = last_boxed(response)
    found = None if boxed is None else LETTER.match(boxed.strip())
    return found[1] if found else None
