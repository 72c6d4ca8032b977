from __future__ import annotations

from tgpo.tasks.arithmetic import Arithmetic, is_held_out
from tgpo.tiny.privileged import TEXTS, Shown, mixture, plainly, right_where_shown, with_text
from tgpo.tiny.recipe import IGNORE, encode_batch
from tgpo.tiny.solutions import teacher_style, wrong_at_minus
from tgpo.tiny.tokenizer import build_tokenizer

PROMPTS = ["12+34-5", "12+34-5 [46,41]", "12+34-5 [46,40]"]  # alone, with its own text, with another's
SUMS = [f"{a}+{a + 9}-12" for a in range(10, 70)]


def test_the_texts_behind_a_sum():
    shown = {name: with_text("37+85-12", text("37+85-12")) for name, text in TEXTS.items()}
    assert shown == {
        "hint": "37+85-12 [122,110]",
        "solution": r"37+85-12 [37+85=122;122-12=110;\boxed{110}]",
        "answer": "37+85-12 [110]",
    }


def test_a_mixture_has_the_shares_that_it_is_given():
    ask = mixture(plain=1, own=2, others=1, seed="test")
    own = {with_text(expression, text(expression)) for expression in SUMS for text in TEXTS.values()}
    prompts = [prompt for _ in range(20) for prompt in ask(SUMS)]
    assert 0.2 < sum("[" not in prompt for prompt in prompts) / len(prompts) < 0.3
    assert 0.45 < sum(prompt in own for prompt in prompts) / len(prompts) < 0.55
    assert [prompt.split(" ")[0] for prompt in prompts] == SUMS * 20


def test_a_mixture_repeats_itself_and_is_drawn_anew_for_every_batch():
    first, again = (mixture(1, 1, 1, "test") for _ in range(2))
    batches = [first(SUMS), first(SUMS)]
    assert batches[0] != batches[1]
    assert batches == [again(SUMS), again(SUMS)]
    assert plainly(SUMS) == SUMS


def test_the_text_of_another_problem_is_from_the_same_batch():
    last = [with_text(SUMS[1], text(SUMS[0])) for text in TEXTS.values()]
    first = [with_text(SUMS[0], text(SUMS[1])) for text in TEXTS.values()]
    a, b = mixture(0, 0, 1, "test")(SUMS[:2])
    assert a in first
    assert b in last


def test_the_response_is_to_what_the_prompt_shows():
    tokenizer = build_tokenizer()
    _, labels = encode_batch(tokenizer, ["12+34-5"], right_where_shown, lambda _: PROMPTS)
    written = [tokenizer.decode(row[row != IGNORE]) for row in labels]
    assert written == [f"{style('12+34-5')}<|end|>" for style in (wrong_at_minus, teacher_style, wrong_at_minus)]


def test_the_held_out_problems_with_a_text_keep_their_answers():
    plain = Arithmetic().eval_problems()
    for name, text in TEXTS.items():
        own, others = Shown(name).eval_problems(), Shown(name, own=False).eval_problems()
        assert [problem.answer for problem in own] == [problem.answer for problem in others]
        assert own[0].prompt == with_text(plain[0].prompt, text(plain[0].prompt))
        assert others[-1].prompt == with_text(plain[-1].prompt, text(plain[0].prompt))
        assert all(is_held_out(problem.prompt.split(" ")[0]) for problem in own)
    assert Shown("hint").rewards(plain[:1], [teacher_style(plain[0].prompt)]).values == [1.0]
