"""Gold answers, questions and rewards for problems that are rows of a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from tgpo.tasks.base import Rewards
from tgpo.tasks.cells import AS_JSON, MAPPING, CellError, described, messages, plain_text, structure
from tgpo.tasks.verifier import last_boxed, verify_responses

AnswerForm = Literal["verbatim", "after_hashes", "last_boxed"]

THINK_END = "</think>"
LETTER = re.compile(r"(?:\\[a-z]+\{)*[\s({$]*([A-Z])(?:[\s)}$]*$|[).:])")


def gold_answer(value: Any, form: AnswerForm) -> str | None:
    """Returns the gold answer in a cell of the answer column, or None when there is none.

    `verbatim`: the cell as text, a list (also one in JSON) joined by commas, an integral float without its `.0`;
    `after_hashes`: the text after the last `####`, without thousands separators (GSM8K); `last_boxed`: the content of
    the last `\\boxed{}`. Raises CellError for a cell that holds neither text nor numbers.
    """
    written = structure(value) if isinstance(value, str) else None  # as in CSV, which has no lists of its own
    if written is not None:
        return gold_answer(written, form)
    if isinstance(value, list):
        parts = [gold_answer(part, form) for part in value]
        return None if None in parts or not parts else ", ".join(filter(None, parts))
    text = plain_text(value, "answer_column")
    if text is None:
        return None
    text = text.strip()
    if MAPPING.match(text):
        raise CellError("answer_column", f"text that begins like fields ({text[:40]!r}) and is no JSON", fix=AS_JSON)
    if form == "after_hashes":
        _, mark, after = text.rpartition("####")
        return re.sub(r"(?<=\d),(?=\d{3})", "", after.strip()) if mark else None
    if form == "last_boxed":
        return last_boxed(text)
    return text


def question(value: Any) -> tuple[str | None, str | None]:
    """Returns the question and the system prompt (or None) in a cell of the prompt column.

    The cell holds text, or chat messages, as such or as JSON: one user turn, possibly after one system turn. Any other
    conversation is not a single question and gives (None, None). Raises CellError for what is neither.
    """
    turns = messages(value)
    if turns is None and isinstance(value, list):
        raise CellError("prompt_column", f"{described(value)}, not text or chat messages with role and content")
    if turns is None:
        return plain_text(value, "prompt_column"), None
    roles = [plain_text(turn["role"], "prompt_column") for turn in turns]
    if roles not in (["user"], ["system", "user"]):
        return None, None
    try:
        texts = [plain_text(turn["content"], "prompt_column") for turn in turns]
    except CellError as error:
        raise CellError("prompt_column", f"chat messages whose content is {error}") from error
    return texts[-1], texts[0] if len(turns) == 2 else None


def further_text(value: Any, option: str) -> str | None:
    """Returns the text in a cell of one of `extra_columns`: text, a number, or chat messages, of which the assistant's
    are taken. Raises CellError for anything else."""
    turns = messages(value)
    if turns is None:
        return plain_text(value, option)
    texts = [plain_text(turn["content"], option) for turn in turns if turn["role"] == "assistant"]
    return "\n\n".join(text for text in texts if text) or None


def judge(golds: Sequence[str], responses: Sequence[str], *, require_boxed: bool, require_think_end: bool) -> Rewards:
    """Returns math-verify's reward for each response.

    With `require_think_end` only the text after `</think>` is judged, and a response without `</think>` gets 0 (the
    reward of TGPO, arXiv 2605.13230).
    """
    if require_think_end:
        responses = [after_thinking(response) for response in responses]
    return verify_responses(golds, responses, require_boxed=require_boxed)


def after_thinking(response: str) -> str:
    """Returns the text after the last `</think>`, or an empty string, which holds no answer, when there is none."""
    _, mark, after = response.rpartition(THINK_END)
    return after if mark else ""


def judge_letters(golds: Sequence[str], responses: Sequence[str], *, require_think_end: bool) -> Rewards:
    """Returns reward 1 for each response whose boxed letter is the gold letter, else 0.

    The letters are compared as strings, because math-verify would read them as variables.
    """
    if require_think_end:
        responses = [after_thinking(response) for response in responses]
    return Rewards([float(letter(r) == gold) for gold, r in zip(golds, responses, strict=True)])


def letter(response: str) -> str | None:
    """Returns the option letter in the last box: `B` for `B`, `(B)`, `\\text{B}` and `B. four moles`.

    None when there is no box or its content does not begin with a capital letter that stands alone.
    """
    boxed = last_boxed(response)
    match = None if boxed is None else LETTER.match(boxed.strip())
    return match[1] if match else None
