"""The reported quantities: name, unit, formula and bias of each, and their values with intervals.

p is the student's next-token distribution and q the teacher's, at temperature 1, in a state (prompt and tokens so far)
that the student's own rollout passed through; a is the token the student sampled there. Logarithms are natural. Every
mean is over all tokens of all responses (a ratio of sums), so a long response counts with all its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tgpo.divergence.bootstrap import Bootstrap, Estimate
from tgpo.divergence.measure import Counted
from tgpo.divergence.request import DivergenceOptions

PERCENTS = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Quantity:
    """A reported quantity: `of` names what is averaged; if `exponential`, exp of the mean is reported."""

    name: str
    label: str
    of: str
    unit: str
    meaning: str
    exponential: bool = False


@dataclass(frozen=True)
class Finding:
    """One row of the table. A number is None if nothing could be averaged: no response ended, or too few did for an
    interval."""

    section: str
    name: str
    label: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    meaning: str


def divergences(k: int) -> tuple[Quantity, ...]:
    """Returns the divergences, those over a top-k for `k` tokens.

    Sources: the k1 name, Schulman, "Approximating KL Divergence" (2020); k-token losses, GKD, arXiv 2306.13649.
    """
    nats = "nats/token"
    return (
        Quantity("divergence/reverse_kl", "reverse KL, exact", "reverse_kl", nats,
                 "sum_v p(v) log p(v)/q(v) over the whole vocabulary; exact in each state"),
        Quantity("divergence/reverse_kl_k1", "reverse KL, k1", "reverse_kl_k1", nats,
                 "log p(a)/q(a); unbiased for the exact one when rollout.temperature is 1, with more variance"),
        Quantity("divergence/reverse_kl_topk", f"reverse KL, top {k}, renormalised", "reverse_kl_topk", nats,
                 f"as the exact one with p and q renormalised on the student's {k} best tokens; biased, either way"),
        Quantity("divergence/reverse_kl_topk_part", f"reverse KL, top {k}, its part", "reverse_kl_topk_part",
                 nats, f"the exact sum, its {k} terms of the student's best tokens alone; biased by the rest"),
        Quantity("divergence/student_topk_mass", f"student's mass of its top {k}", "student_topk_mass", "probability",
                 f"sum of p over the student's {k} best tokens: what the two rows above cover"),
        Quantity("divergence/teacher_at_student_topk_mass", f"teacher's mass of student's top {k}",
                 "teacher_at_student_topk_mass", "probability", f"sum of q over the student's {k} best tokens"),
        Quantity("divergence/forward_kl", "forward KL, exact", "forward_kl", nats,
                 "sum_v q(v) log q(v)/p(v) over the whole vocabulary; in the student's states, not the teacher's"),
        Quantity("divergence/forward_kl_topk", f"forward KL, teacher's top {k}", "forward_kl_topk", nats,
                 f"as the exact one over the teacher's {k} best tokens, q renormalised on them and p not: the loss of "
                 "objective=fkl with topk; biased"),
        Quantity("divergence/teacher_perplexity", "teacher perplexity", "teacher_surprise", "",
                 "exp of the mean of -log q(a)", exponential=True),
        Quantity("divergence/student_perplexity", "student perplexity", "student_surprise", "",
                 "exp of the mean of -log p(a)", exponential=True),
        Quantity("divergence/teacher_entropy", "teacher entropy", "teacher_entropy", nats, "-sum_v q(v) log q(v)"),
        Quantity("divergence/student_entropy", "student entropy", "student_entropy", nats, "-sum_v p(v) log p(v)"),
    )  # fmt: skip


def agreements(overlap_at: list[int]) -> tuple[Quantity, ...]:
    return (
        Quantity("divergence/mismatch", "mismatch", "mismatch", "fraction", "tokens that are not the teacher's argmax"),
        *(
            Quantity(f"divergence/overlap@{k}", f"top-{k} overlap", f"overlap@{k}", "fraction",
                     "the two argmaxes are one token" if k == 1 else
                     f"tokens in both the student's and the teacher's {k} best, over {k}")
            for k in overlap_at
        ),
    )  # fmt: skip


def coverages(coverage_at: list[int]) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(f"divergence/{who}_coverage@{k}", f"{who}'s mass of teacher's top {k}", f"{who}_coverage@{k}",
                 "probability", f"sum of {letter} over the teacher's {k} best tokens")
        for k in coverage_at for who, letter in (("teacher", "q"), ("student", "p"))
    )  # fmt: skip


def lengths() -> tuple[Quantity, ...]:
    both = (("student", "p"), ("teacher", "q"))
    responses = "to the same prompts, at the same temperature and cap"
    return tuple(
        Quantity(f"{who}/{name}", f"{label}: {who}", f"{of.format(who)}", unit, meaning.format(letter))
        for name, label, of, unit, meaning in (
            ("length_mean", "response length", "{}/length_mean", "tokens",
             f"with EOS; {responses}; a response cut off at the cap counts as it is"),
            ("length_ended_mean", "length of the ended", "{}/length_ended_mean", "tokens",
             "with EOS; of those that ended before the cap"),
            ("ended_fraction", "ended", "{}/ended_fraction", "fraction",
             f"responses that end before the cap; {responses}"),
            ("eos_at_end", "P(EOS) at the end", "{}_eos_at_end", "probability",
             "{} of all ids that end the student's responses, where the student drew one"),
            ("eos_before_end", "P(EOS) before the end", "{}_eos_before_end", "probability",
             "the same where it drew another token"),
        )
        for who, letter in both
    )  # fmt: skip


def sections(options: DivergenceOptions) -> dict[str, tuple[Quantity, ...]]:
    return {
        "Divergence": divergences(options.topk),
        "Agreement": agreements(options.overlap_at),
        "Coverage": coverages(options.coverage_at),
        "Length and EOS": lengths(),
    }


def findings(counted: Counted, options: DivergenceOptions, seed: int) -> list[Finding]:
    return list(_findings(counted, options, Bootstrap(counted.prompts, seed, options)))


def _findings(counted: Counted, options: DivergenceOptions, bootstrap: Bootstrap) -> Iterator[Finding]:
    by_section = sections(options)
    quantities = [quantity for section in by_section.values() for quantity in section]
    estimates = bootstrap.ratios([counted.ratios[quantity.of] for quantity in quantities])
    estimate_of = dict(zip((quantity.name for quantity in quantities), estimates, strict=True))
    for section, members in by_section.items():
        for q in members:
            # exp is monotone: the percentiles of exp are exp of the percentiles
            estimate = Estimate(*np.exp(estimate_of[q.name]).tolist()) if q.exponential else estimate_of[q.name]
            yield finding(section, q.name, q.label, estimate, q.unit, q.meaning)
        if section == "Agreement":
            ratios = bootstrap.percentiles(counted.pooled["log_ratio"], PERCENTS)
            for percent, estimate in zip(PERCENTS, ratios, strict=True):
                label, meaning = f"{percent} % of tokens below", "percentile over tokens of log p(a)/q(a)"
                yield finding("Log density ratio", f"log_ratio/p{percent}", label, estimate, "nats", meaning)


def finding(section: str, name: str, label: str, estimate: Estimate, unit: str, meaning: str) -> Finding:
    value, low, high = (x if math.isfinite(x) else None for x in estimate)
    return Finding(section, name, label, value, low, high, unit, meaning)


def by_name(found: list[Finding]) -> dict[str, dict[str, float | str | None]]:
    return {f.name: {k: v for k, v in asdict(f).items() if k != "name"} for f in found}
