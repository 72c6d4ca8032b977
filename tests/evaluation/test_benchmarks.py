"""Each public benchmark, as its preset declares it, on a fixture with the schema of the dataset it reads."""

from __future__ import annotations

import re

import pytest

from tests.compose import CONF, composed
from tests.hub import FIXTURES, fetched
from tgpo.config.check import check
from tgpo.config.eval_sets import all_eval_problems, eval_sets
from tgpo.errors import RequestError

pytestmark = pytest.mark.usefixtures("hub")

NAMES = sorted(path.stem for path in (CONF / "eval" / "benchmark").glob("*.yaml"))
NAMES = [name for name in NAMES if name not in ("base", "multiple_choice")]
PAPER = {
    "aime24": (30, 32),
    "aime25": (30, 32),
    "amc": (83, 32),
    "math500": (500, 1),
    "minerva": (272, 1),
    "olympiad": (675, 1),
    "arc_challenge": (1172, 1),
    "gpqa_diamond": (198, 1),
    "mmlu_pro": (12032, 1),
}


def benchmark(name: str, *overrides: str):
    at = f"eval.benchmarks.{name}"
    own = [f"+eval/benchmark@{at}={name}", f"{at}.path={FIXTURES}/{name}", f"{at}.size=10", "eval.temperature=0.6"]
    return check(composed(*own, *overrides, "output_dir=unused")).benchmarks[0]


def test_the_two_groups_are_the_papers():
    found = {}
    for group in ("math", "ood"):
        for exam in eval_sets(check(composed(f"eval={group}", "output_dir=unused"))):
            found[exam.name] = (exam.questions.size, exam.samples)  # pyright: ignore[reportAttributeAccessIssue]
            assert (exam.temperature, exam.max_response_length) == (0.6, 8192)
    assert found == PAPER
    assert sorted(found) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_row_becomes_a_problem_whose_answer_is_right(name):
    found = benchmark(name)
    problems = found.eval_problems()
    assert len(problems) == 10
    for problem in problems:
        assert "\\boxed{}" in problem.prompt
        assert "{problem}" not in problem.prompt
        assert "{choices}" not in problem.prompt
    boxed = [rf"so \boxed{{{problem.answer}}}" for problem in problems]
    assert found.rewards(problems, boxed).values == [1] * 10
    assert found.rewards(problems, [r"\boxed{Z}"] * 10).values == [0] * 10  # a planted fault: no answer is Z
    rotated = [problem.answer for problem in [*problems[1:], problems[0]]]
    wrong = found.rewards(problems, [rf"\boxed{{{answer}}}" for answer in rotated]).values
    assert sum(wrong) < 10  # another problem's answer


GOLD = {
    "aime24": "015",
    "aime25": "15",
    "amc": "15",
    "math500": r"\frac{1}{2}",
    "minerva": "0.25",
    "olympiad": "1, -1",
    "arc_challenge": "A",
    "mmlu_pro": "A",
}


@pytest.mark.parametrize("name", sorted(GOLD))
def test_the_first_answer(name):
    assert benchmark(name).eval_problems()[0].answer == GOLD[name]


def options(problem) -> dict[str, str]:
    return dict(re.findall(r"^([A-J])\. (.+)$", problem.prompt, re.MULTILINE))


@pytest.mark.parametrize("name", ["arc_challenge", "gpqa_diamond", "mmlu_pro"])
def test_the_letter_is_that_of_the_right_option(name):
    """In the fixtures the right option is the product of the two numbers in the question."""
    for problem in benchmark(name).eval_problems():
        crates, each = re.findall(r"\d+", problem.prompt)[:2]
        shown = options(problem)
        assert list(shown) == list("ABCDEFGHIJ"[: len(shown)])
        assert shown[problem.answer].split()[0] == str(int(crates) * int(each))


def test_options_are_shuffled_the_same_way_each_time_and_not_all_alike():
    at = "eval.benchmarks.gpqa_diamond.shuffle_seed"
    first, again = benchmark("gpqa_diamond").eval_problems(), benchmark("gpqa_diamond").eval_problems()
    assert first == again
    assert len({problem.answer for problem in first}) > 1
    other = benchmark("gpqa_diamond", f"{at}=1").eval_problems()
    assert [p.answer for p in other] != [p.answer for p in first]
    # the fault that the seed is there for: as they come, the right option is always the first
    assert {p.answer for p in benchmark("gpqa_diamond", f"{at}=null").eval_problems()} == {"A"}


def test_a_benchmark_in_the_cache_is_the_local_copy(hub):
    local = benchmark("arc_challenge").eval_problems()
    fetched(hub, "allenai/ai2_arc", "arc_challenge")
    at = "eval.benchmarks.arc_challenge"
    request = check(composed(f"+eval/benchmark@{at}=arc_challenge", f"{at}.size=10", "output_dir=unused"))
    assert request.benchmarks[0].eval_problems() == local


def test_a_copy_that_is_not_the_whole_benchmark_is_refused():
    with pytest.raises(RequestError, match=r"10 problems there, the benchmark has 30; .*aime24.size=10"):
        benchmark("aime24", "eval.benchmarks.aime24.size=30").eval_problems()


def test_all_that_must_be_fetched_is_said_at_once(hub):
    request = check(composed("eval=ood", "output_dir=unused"))
    with pytest.raises(RequestError, match="3 datasets are not in the local cache") as caught:
        all_eval_problems(request)
    assert str(caught.value).count("hf download --repo-type dataset") == 3
    fetched(hub, "allenai/ai2_arc", "arc_challenge")
    fetched(hub, "TIGER-Lab/MMLU-Pro", "mmlu_pro")
    whole = [f"eval.benchmarks.{name}.size=10" for name in ("arc_challenge", "mmlu_pro")]
    with pytest.raises(RequestError, match=r"gpqa_diamond.path=.* hf download --repo-type dataset Idavidrein/gpqa$"):
        all_eval_problems(check(composed("eval=ood", *whole, "output_dir=unused")))


def test_benchmarks_are_asked_with_the_tasks_system_prompt():
    task = ["task=openr1_math", f"task.path={FIXTURES}/openr1_math", "task.eval_size=2"]
    own = ["+eval/benchmark@eval.benchmarks.amc=amc", f"eval.benchmarks.amc.path={FIXTURES}/amc"]
    size, nowhere = "eval.benchmarks.amc.size=10", ("eval.temperature=0.6", "output_dir=unused")

    def systems(*overrides: str) -> set[str | None]:
        exam = eval_sets(check(composed(*own, size, *overrides, *nowhere)))[-1]
        return {problem.system for problem in exam.eval_problems()}

    assert systems(*task) == {"Think between <think> and </think>. Then give the answer in \\boxed{}."}
    assert systems() == {None}
    assert systems(*task, "eval.system_prompt=null") == {None}
    assert systems(*task, "eval.system_prompt=Sum.") == {"Sum."}


def test_the_tasks_own_problems_come_first_where_both_are_asked():
    request = check(composed("eval=ood", "eval.held_out=true", "output_dir=unused"))
    assert [exam.name for exam in eval_sets(request)] == ["arithmetic", "arc_challenge", "gpqa_diamond", "mmlu_pro"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["eval.held_out=false"], "nothing to evaluate on"),
        (["eval=math", "eval.temperature=0"], "samples=32: at temperature 0 they are all the same"),
        (["eval=math", "eval.benchmarks.amc.samples=0"], "eval.benchmarks.amc.samples=0"),
        (["eval=math", "+eval.benchmarks.amc.sampels=4"], "did you mean 'eval.benchmarks.amc.samples'"),
        (["eval=ood", "eval.choices_template='{problem}'"], "{choices}"),
        (["eval.pass_at=[0]"], "eval.pass_at"),
        (["eval.rows_at_once=0"], "eval.rows_at_once=0"),
    ],
)
def test_mistakes_are_named(overrides, words):
    with pytest.raises(RequestError) as caught:
        check(composed(*overrides, "output_dir=unused"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["choices_columns=[choices]"], "arc_challenge/test/0 holds fields (text, label), not a list"),
        (["choices_columns=[question]"], "arc_challenge/test/0 holds text, not a list"),
        (["choices_columns=[choices,question]"], "holds fields (text, label), not text or a number"),
        (["labels_column=choices"], "labels_column=choices: row arc_challenge/test/0 holds fields"),
        (["answer_column=choices"], "set eval.benchmarks.arc_challenge.answer_column=choices.text"),
    ],
)
def test_a_cell_that_is_no_list_of_options_is_refused(overrides, words):
    own = [f"eval.benchmarks.arc_challenge.{override}" for override in overrides]
    with pytest.raises(RequestError) as caught:
        benchmark("arc_challenge", *own).eval_problems()
    assert words in str(caught.value)
