"""Compares one answer with one gold answer by math-verify, in a process that the answer may crash.

Runs in the workers of `verifier_host`. It imports no module of the run, so a worker starts fast, uses little memory
and holds none of the run's state.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from typing import Literal

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

# spent: the answer exceeded its limit of time, memory or recursion depth; lost: its worker died for an unknown reason
Verdict = Literal["right", "wrong", "spent", "lost"]

# The complete content of a box is the answer. math-verify's search for expressions would pick a number out of a box
# that does not parse, and read `\\ne 5` or `f(5` as 5.
IN_A_BOX = [LatexExtractionConfig()]
IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]

OUT_OF_MEMORY = 70  # exit code of a worker whose answer exhausted its memory

# math-verify logs every unparsable answer with a traceback; an untrained student writes thousands of them.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def confine(memory: int) -> None:
    """Limits this worker to `memory` bytes of address space, no file writes, no core dumps. Called once per worker."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler is in Python, and waits while sympy runs C code
    sys.dont_write_bytecode = True
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def judge(gold: str, text: str, seconds: float) -> Verdict:
    """Returns the verdict on one answer. The kernel ends the worker after `seconds` of processor time.

    The kernel can do so even while sympy runs C code. Processor time is used instead of wall-clock time so that the
    verdict does not depend on the load of the machine.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return "right" if equivalent(gold, text) else "wrong"
    except RecursionError:
        return "spent"
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # after this the process cannot be trusted with another answer
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def equivalent(gold: str, text: str) -> bool:
    """Returns whether math-verify finds the answer in `text` equal to `gold`.

    math-verify's own timeouts are off, because the caller sets a limit.
    """
    where = IN_A_BOX if text.startswith(r"\boxed{") else IN_TEXT
    try:
        right = parse(rf"\boxed{{{gold}}}", IN_A_BOX, parsing_timeout=0, raise_on_error=True)
        given = parse(text, where, parsing_timeout=0, raise_on_error=True)
        return verify(right, given, timeout_seconds=0, raise_on_error=True)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001  sympy may raise any exception on a model's text; such an answer is wrong
        return False
