"""The phases in order of importance, each with its time limit in seconds."""

from __future__ import annotations

from typing import NamedTuple


class Phase(NamedTuple):
    name: str
    seconds: int
    what: str


PHASES = {
    phase.name: phase
    for phase in (
        Phase("parity", 90, "loss and gradient of every objective and variant, against the CPU's"),
        Phase("default_run", 170, "the default experiment's first 40 steps, and the same killed and resumed"),
        Phase("update", 170, "the update at 0.5B and 1.5B: speed and memory"),
        Phase("head", 60, "the head at a vocabulary of 151,936 for every objective"),
        Phase("variance", 40, "gradient variance, exact and by sketch"),
        Phase("rollouts", 60, "rollouts of the hf engine at 0.5B"),
        Phase("checkpoints", 40, "a checkpoint written, verified, restored"),
        Phase("sharded", 60, "FSDP2 over one process"),
    )
}
