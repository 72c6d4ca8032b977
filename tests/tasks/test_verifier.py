"""What is right, by a corpus of answers meant to fool or to break the verifier, and by properties."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.giants import GIANTS
from tgpo.tasks.answer import tidy
from tgpo.tasks.equivalence import equivalent
from tgpo.tasks.verifier import MAX_ANSWER_CHARACTERS, Verifier, at_sight, verify_responses
from tgpo.tasks.verifier_pool import VerifierPool

CORPUS = [json.loads(line) for line in Path(__file__).with_name("verifier_corpus.jsonl").read_text().splitlines()]
numbers = st.integers(-(10**17), 10**17)  # and their neighbours: at most 18 digits


def box(answer: object) -> str:
    return rf"\boxed{{{answer}}}"


@pytest.fixture(scope="module")
def verifier():
    """Two seconds: right answers took 0.9 on a slow core, and what takes more is stopped with the same reward."""
    made = Verifier(VerifierPool(seconds=2))
    yield made
    made.pool.close()


def test_the_corpus_is_one_of_distinct_entries():
    assert len(CORPUS) >= 900
    assert len({entry["id"] for entry in CORPUS}) == len(CORPUS)
    seen = {(e["gold"], e.get("build", e.get("response")), e.get("require_boxed", True)) for e in CORPUS}
    assert len(seen) == len(CORPUS)
    assert {entry["build"] for entry in CORPUS if "build" in entry} == set(GIANTS)


KINDS = tuple(dict.fromkeys(entry["id"].split("/")[0] for entry in CORPUS))
HEAVY = ("bombs", "giants")  # a minute together, as many of them run into the time limit: one in ten is in `make test`


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "every"),
    [(kind, 10 if kind in HEAVY else 1) for kind in KINDS]
    + [pytest.param(kind, 1, marks=pytest.mark.long) for kind in HEAVY],
)
def test_every_verdict_of_the_corpus(kind, every, verifier):
    """`reward` is what a sensible grader says; `known` says why math-verify, or its limits, say the opposite."""
    entries = [entry for entry in CORPUS if entry["id"].startswith(f"{kind}/")][::every]
    wrong = []
    for require_boxed in (True, False):
        asked = [entry for entry in entries if entry.get("require_boxed", True) is require_boxed]
        responses = [GIANTS[entry["build"]]() if "build" in entry else entry["response"] for entry in asked]
        found = verifier.rewards([entry["gold"] for entry in asked], responses, require_boxed=require_boxed)
        for entry, reward in zip(asked, found.values, strict=True):
            expected = 1 - entry["reward"] if "known" in entry else entry["reward"]
            if reward != expected:
                wrong.append((entry["id"], entry["why"], entry.get("known"), f"reward {reward}"))
    assert wrong == []


@given(numbers, numbers)
@settings(deadline=None)
def test_math_verify_agrees_on_plain_integers(left, right):
    """What is told at sight is what the workers would say."""
    for other in {right, left, -left, left + 1, left - 1, left * 10 if abs(left) < 10**16 else 0}:
        verdict = at_sight(str(left), box(other))
        assert verdict == ("right" if left == other else "wrong")
        assert equivalent(str(left), box(other)) is (verdict == "right")


@given(st.sampled_from(["-0", "05", "+5", "5.0", "1" * 19, "1,000", "5!", "x", "٥", "5\n"]))
def test_other_ways_to_write_a_number_are_not_told_at_sight(answer):
    assert at_sight("5", box(answer)) is None
    assert at_sight("5", answer) is None  # nor an integer that stands in no box


@given(st.text("0123456789abcxyz+-*/^()= ", min_size=1).filter(tidy))
def test_the_gold_answer_letter_by_letter_is_right(gold):
    assert Verifier().rewards([gold], [box(gold)]).values == [1.0]


@given(st.lists(st.text(max_size=30) | st.integers(-99, 99).map(box), max_size=6))
def test_rewards_do_not_depend_on_the_company(responses):
    """Each response alone has the reward it has among the others. Their answers are integers: no pool is needed."""
    golds = ["7"] * len(responses)
    together = Verifier().rewards(golds, responses).values
    assert together == [Verifier().rewards(["7"], [response]).values[0] for response in responses]


@pytest.mark.slow
@given(st.text(r"\{}()[]^_+-*/=<>!|,.%$&~ 0123456789exipifracsqrtboxdlnti", max_size=24))
@settings(max_examples=60, deadline=None)
def test_no_answer_stops_the_verifier(verifier, answer):
    found = verifier.rewards(["5", "5"], [box(answer), box("5")])
    assert found.values[0] in (0.0, 1.0)
    assert found.values[1] == 1.0


@pytest.mark.slow
@given(st.integers(-999, 999), st.integers(1, 99))
@settings(max_examples=40, deadline=None)
def test_a_fraction_equals_its_multiples_and_not_its_neighbours(verifier, over, under):
    gold = rf"\frac{{{over}}}{{{under}}}"
    same, other = (box(rf"\dfrac{{{3 * over + change}}}{{{3 * under}}}") for change in (0, 1))
    assert verifier.rewards([gold, gold], [same, other]).values == [1.0, 0.0]


def test_rewards_need_a_box_unless_told_otherwise():
    responses = [r"\boxed{5}", "so it is 6", ""]
    assert verify_responses(["5"] * 3, responses).values == [1, 0, 0]
    assert verify_responses(["5"], [r"6, so \boxed{5}"], require_boxed=False).values == [1]
    assert verify_responses(["5"], [""], require_boxed=False).values == [0]


@pytest.mark.parametrize("require_boxed", [True, False])
def test_a_runaway_answer_is_wrong_without_being_parsed(require_boxed):
    made = Verifier()
    for text in ("9" * (MAX_ANSWER_CHARACTERS + 1), "5" + " " * MAX_ANSWER_CHARACTERS):
        assert made.rewards(["5"], [box(text)], require_boxed=require_boxed).values == [0.0]
    assert made.pool.host is None


def test_plain_integers_start_no_process():
    made = Verifier()
    found = made.rewards(["5"] * 4, [box(5), box(-6), box(" 5. "), "five"])
    assert found.values == [1, 0, 1, 0]
    assert made.pool.host is None


class Spy(VerifierPool):
    """A pool that notes what it is asked."""

    def judge(self, pairs):
        self.asked = [*getattr(self, "asked", []), *pairs]
        return super().judge(pairs)


@pytest.mark.slow
def test_each_distinct_pair_is_asked_once():
    made = Verifier(pool := Spy(seconds=0.5))
    for _ in range(2):
        assert made.rewards(["7"] * 40, [box("8.0"), box("7.0")] * 20).values == [0, 1] * 20
    assert pool.asked == [("7", box("8.0")), ("7", box("7.0"))]
    pool.close()


@pytest.mark.slow
def test_an_answer_beyond_its_limit_is_counted_each_time_and_kept():
    made = Verifier(pool := Spy(seconds=0.3))
    for _ in range(2):
        found = made.rewards(["5"] * 3, [box("9^{9^{9^{9}}}"), box("5.0"), box("9^{9^{9^{9}}}")])
        assert (found.values, found.timeouts) == ([0, 1, 0], 2)
    assert len(pool.asked) == 2
    pool.close()
