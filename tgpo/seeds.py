"""All randomness is drawn from (seed, purpose, step)."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, purpose: str, step: int) -> int:
    """A seed for one purpose at one step: no random state has to be carried from step to step, or to a resumed run."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
