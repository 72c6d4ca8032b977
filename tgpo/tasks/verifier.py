"""Is a response right? math-verify on its last `\\boxed{...}`, once for each distinct (gold, answer) pair."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tgpo.tasks.answer import last_boxed, tidy
from tgpo.tasks.base import Rewards
from tgpo.tasks.verifier_pool import VerifierPool

if TYPE_CHECKING:
    from tgpo.tasks.equivalence import Verdict

MAX_ANSWER_CHARACTERS = 2_000  # a longer "answer" is a runaway response: wrong, and not worth parsing
KEPT_VERDICTS = 65_536
PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # one way to write each: two of them are equal as strings or not


class Verifier:
    """Keeps verdicts and the pool that makes them. What can be told at sight never reaches the pool.

    Kept for its life: right, wrong, and `spent`, which the answer brings about by itself (the limits are of processor
    time, memory and depth). A verdict lost to anything else is asked for again when the answer comes again.
    """

    def __init__(self, pool: VerifierPool | None = None) -> None:
        self.pool = pool or VerifierPool()
        self.known: dict[tuple[str, str], Verdict] = {}

    def rewards(self, golds: Iterable[str], responses: Iterable[str], *, require_boxed: bool = True) -> Rewards:
        pairs = [(tidy(gold), answer_text(r, require_boxed)) for gold, r in zip(golds, responses, strict=True)]
        verdicts = {pair: self.known.get(pair) or at_sight(*pair) for pair in pairs}
        asked = [pair for pair, verdict in verdicts.items() if verdict is None]
        for pair, verdict in zip(asked, self.pool.judge(asked) if asked else (), strict=True):
            verdicts[pair] = verdict
            if verdict != "lost":
                self._keep(pair, verdict)
        found = [verdicts[pair] for pair in pairs]
        timeouts = sum(verdict in ("spent", "lost") for verdict in found)
        return Rewards([float(verdict == "right") for verdict in found], timeouts)

    def _keep(self, pair: tuple[str, str], verdict: Verdict) -> None:
        if len(self.known) >= KEPT_VERDICTS:
            self.known.pop(next(iter(self.known)))  # the oldest
        self.known[pair] = verdict


THE_RUNS = Verifier()


def verify_responses(golds: Iterable[str], responses: Iterable[str], *, require_boxed: bool = True) -> Rewards:
    """Reward 1 for each response whose answer math-verify finds equal to its gold answer, else 0.

    The answer is the content of the last `\\boxed{...}`; without one the reward is 0 when `require_boxed`, and
    otherwise math-verify looks for an answer in the whole response. An answer that takes more than its time, memory or
    depth, or that ends the process it is judged in, has reward 0 and is counted in `timeouts`.
    """
    return THE_RUNS.rewards(golds, responses, require_boxed=require_boxed)


def answer_text(response: str, require_boxed: bool) -> str:
    """What math-verify is to read of a response; empty when there is no answer, or one too long to be one."""
    answer = last_boxed(response)
    found = ("" if require_boxed else response) if answer is None else answer
    if len(found) > MAX_ANSWER_CHARACTERS:
        return ""
    if answer is None:
        return found
    return rf"\boxed{{{tidy(answer)}}}" if tidy(answer) else ""


def at_sight(gold: str, text: str) -> Verdict | None:
    """The verdict where it takes no mathematics: no answer, the gold answer letter by letter, two plain integers."""
    if not text:
        return "wrong"
    if text == rf"\boxed{{{gold}}}":
        return "right"
    answer = text.removeprefix(r"\boxed{").removesuffix("}")
    if PLAIN_INTEGER.fullmatch(gold) and PLAIN_INTEGER.fullmatch(answer) and answer != text:
        return "wrong"
    return None
