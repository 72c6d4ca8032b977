"""One answer against one gold answer by math-verify, in a process that may be lost.

Runs in the workers that `verifier_host` keeps, and imports nothing of the run: a worker starts light and knows nothing.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from typing import Literal

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

# spent: the answer took more time, memory or depth than one answer may; lost: its worker died, and nothing says why
Verdict = Literal["right", "wrong", "spent", "lost"]

# In a box the whole content is the answer. math-verify's search for expressions would pick a number out of a box that
# does not parse, and call `\\ne 5` or `f(5` a 5.
IN_A_BOX = [LatexExtractionConfig()]
IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]

OUT_OF_MEMORY = 70  # exit code of a worker whose answer took all its memory

# math-verify logs every unparsable answer with a traceback; an untrained student writes thousands of them.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def confine(memory: int) -> None:
    """What a worker may take: `memory` bytes of address space, no file, no core dump. Called once in each."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler is Python's and waits while sympy is in C
    sys.dont_write_bytecode = True
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def judge(gold: str, text: str, seconds: float) -> Verdict:
    """Ends the worker when the answer takes `seconds` of processor time: the kernel does, even while sympy is in C.

    Processor time and not the clock's: the verdict does not depend on what else the machine does.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return "right" if equivalent(gold, text) else "wrong"
    except RecursionError:
        return "spent"
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # what is left of this process is not to be trusted with another answer
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def equivalent(gold: str, text: str) -> bool:
    """Whether math-verify finds the answer in `text` equal to `gold`. Its alarms are off: the caller has a limit."""
    where = IN_A_BOX if text.startswith(r"\boxed{") else IN_TEXT
    try:
        right = parse(rf"\boxed{{{gold}}}", IN_A_BOX, parsing_timeout=0, raise_on_error=True)
        given = parse(text, where, parsing_timeout=0, raise_on_error=True)
        return verify(right, given, timeout_seconds=0, raise_on_error=True)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001  sympy raises anything at all on text a model made up; that is a wrong answer
        return False
