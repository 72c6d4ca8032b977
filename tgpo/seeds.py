"""All random seeds are derived from (seed, purpose, step)."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, purpose: str, step: int) -> int:
    """Returns the seed for one purpose at one step, so that no random state is carried between steps or to a resumed
    run."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
