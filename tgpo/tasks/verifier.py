"""Is a response right? math-verify on its last `\\boxed{...}`, once for each distinct (gold, answer) pair."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache

from math_verify import parse, verify
from math_verify.errors import TimeoutException

from tgpo.tasks.base import Rewards

TIMEOUT_SECONDS = 5
MAX_ANSWER_CHARACTERS = 2_000  # a longer "answer" is a runaway response: wrong, and not worth parsing

# math-verify logs every unparsable answer with a traceback; an untrained student writes thousands of them.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def verify_responses(golds: Iterable[str], responses: Iterable[str], *, require_boxed: bool = True) -> Rewards:
    """Reward 1 for each response whose answer math-verify finds equal to its gold answer, else 0.

    The answer is the content of the last `\\boxed{...}`; without one the reward is 0 when `require_boxed`, and
    otherwise math-verify looks for an answer in the whole response. Verdicts are kept for the life of the process.
    """
    values, timeouts = [], 0
    for gold, response in zip(golds, responses, strict=True):
        answer = last_boxed(response)
        unboxed = "" if require_boxed else response
        text = unboxed if answer is None else rf"\boxed{{{answer}}}"
        verdict = equivalent(gold, text) if len(text) <= MAX_ANSWER_CHARACTERS else False
        timeouts += verdict is None
        values.append(float(bool(verdict)))
    return Rewards(values, timeouts)


def last_boxed(text: str) -> str | None:
    """The content of the last complete `\\boxed{...}`, braces matched; None when there is none."""
    end = len(text)
    while (start := text.rfind(r"\boxed{", 0, end)) >= 0:
        depth = 0
        for position in range(start + len(r"\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[start + len(r"\boxed{") : position]
        end = start
    return None


@lru_cache(maxsize=65_536)
def equivalent(gold: str, text: str) -> bool | None:
    """Whether math-verify finds the answer in `text` equal to `gold`; None when it ran out of time."""
    boxed_gold = rf"\boxed{{{gold}}}"
    if text in ("", boxed_gold):
        return text != ""
    try:
        parsed_gold, parsed = (
            parse(side, parsing_timeout=TIMEOUT_SECONDS, raise_on_error=True) for side in (boxed_gold, text)
        )
        return verify(parsed_gold, parsed, timeout_seconds=TIMEOUT_SECONDS, raise_on_error=True)
    except TimeoutException:
        return None
    except Exception:  # noqa: BLE001  sympy raises anything at all on text a model made up; that is a wrong answer
        return False
