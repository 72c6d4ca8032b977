"""Decides whether responses are right: math-verify judges each distinct pair of gold answer and answer once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tgpo.tasks.answer import last_boxed, tidy
from tgpo.tasks.base import Rewards
from tgpo.tasks.verifier_pool import VerifierPool

if TYPE_CHECKING:
    from tgpo.tasks.equivalence import Verdict

MAX_ANSWER_CHARACTERS = 2_000  # a longer "answer" is a runaway response, judged wrong without parsing
KEPT_VERDICTS = 65_536
PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # one spelling each: equal integers are equal strings


class Verifier:
    """Caches verdicts, and holds the pool that makes them. Trivial cases (`at_sight`) never reach the pool.

    `right`, `wrong` and `spent` are cached; `spent` depends on the answer alone, since the limits are on processor
    time, memory and recursion depth. `lost` has some other cause and is not cached: the answer is judged again when it
    next occurs.
    """

    def __init__(self, pool: VerifierPool | None = None) -> None:
        self.pool = pool or VerifierPool()
        self.known: dict[tuple[str, str], Verdict] = {}

    def rewards(self, golds: Iterable[str], responses: Iterable[str], *, require_boxed: bool = True) -> Rewards:
        pairs = [(tidy(gold), answer_text(r, require_boxed)) for gold, r in zip(golds, responses, strict=True)]
        verdicts = {pair: self.known.get(pair) or at_sight(*pair) for pair in pairs}
        unknown = [pair for pair, verdict in verdicts.items() if verdict is None]
        for pair, verdict in zip(unknown, self.pool.judge(unknown) if unknown else (), strict=True):
            verdicts[pair] = verdict
            if verdict != "lost":
                self._keep(pair, verdict)
        judged = [verdicts[pair] for pair in pairs]
        timeouts = sum(verdict in ("spent", "lost") for verdict in judged)
        return Rewards([float(verdict == "right") for verdict in judged], timeouts)

    def _keep(self, pair: tuple[str, str], verdict: Verdict) -> None:
        if len(self.known) >= KEPT_VERDICTS:
            self.known.pop(next(iter(self.known)))  # the oldest
        self.known[pair] = verdict


THE_RUNS = Verifier()


def verify_responses(golds: Iterable[str], responses: Iterable[str], *, require_boxed: bool = True) -> Rewards:
    """Returns reward 1 for each response whose answer math-verify finds equal to its gold answer, else 0.

    The answer is the content of the last `\\boxed{...}`. For a response without a box the reward is 0 if
    `require_boxed`; otherwise math-verify searches the complete response for an answer. An answer that exceeds its
    limit of time, memory or recursion depth, or that crashes the process it is judged in, has reward 0 and is counted
    in `timeouts`.
    """
    return THE_RUNS.rewards(golds, responses, require_boxed=require_boxed)


def answer_text(response: str, require_boxed: bool) -> str:
    """Returns the text that math-verify is to read; empty when the response has no answer or one that is too long."""
    answer = last_boxed(response)
    text = ("" if require_boxed else response) if answer is None else answer
    if len(text) > MAX_ANSWER_CHARACTERS:
        return ""
    if answer is None:
        return text
    return rf"\boxed{{{tidy(answer)}}}" if tidy(answer) else ""


def at_sight(gold: str, text: str) -> Verdict | None:
    """Returns the verdict if it takes no mathematics, else None.

    That is so for an empty text, for the gold answer character by character, and for two plain integers.
    """
    if not text:
        return "wrong"
    if text == rf"\boxed{{{gold}}}":
        return "right"
    answer = text.removeprefix(r"\boxed{").removesuffix("}")
    if PLAIN_INTEGER.fullmatch(gold) and PLAIN_INTEGER.fullmatch(answer) and answer != text:
        return "wrong"
    return None
