"""Evaluates one checkpoint on every evaluation set of the request: runs the checks first, then loads the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo.config.eval_sets import EvalSet, all_eval_problems, eval_sets
from tgpo.config.request import Request
from tgpo.errors import ProblemsError, RequestError
from tgpo.evaluation.locate import weights_of
from tgpo.evaluation.results import Result, fingerprint, result, save, saved

ReportProgress = Callable[[str, int, int], None]  # name of the evaluation set, problems done, problems in all


@dataclass(frozen=True)
class EvaluationPlan:
    """What is to be evaluated, with everything about it that can be known before a model loads."""

    request: Request
    eval_sets: list[EvalSet]
    tokenizer: Any
    folder: Path  # of the model
    longest: int  # longest prompt and response, in tokens


def plan(request: Request) -> EvaluationPlan:
    """Runs every check and returns the plan; raises RequestError, which says how to fix the request."""
    from tgpo.models.vllm import check_installed
    from tgpo.preflight.checks import check_student

    path = request.options.student.path
    try:
        look = check_student(request)
    except ProblemsError as error:
        raise ProblemsError([renamed(problem) for problem in error.problems]) from error
    except RequestError as error:
        raise RequestError(renamed(str(error))) from error
    if request.options.rollout.backend == "vllm":
        check_installed("rollout=vllm")
    all_eval_problems(request)
    to_do, room = eval_sets(request), getattr(look.configs["student"], "max_position_embeddings", None)
    longest = max(check_room(exam, path, look.tokenizer, room) for exam in to_do)
    return EvaluationPlan(request, to_do, look.tokenizer, look.folders["student"], longest)


def renamed(problem: str) -> str:
    """Returns the message in the terms of this command, where the student is called checkpoint."""
    return problem.replace("student.path=", "checkpoint=")


def check_room(exam: EvalSet, path: str, tokenizer: Any, room: int | None) -> int:
    """Returns the tokens of the longest prompt and response; raises RequestError if the model has too few positions."""
    from tgpo.config.sizes import longest_prompt

    prompt, _ = longest_prompt(exam.eval_problems(), tokenizer)
    if room is not None and prompt + exam.max_response_length > room:
        raise RequestError(
            f"{exam.name}: prompts of {prompt} tokens and {exam.capped_by}={exam.max_response_length} exceed the "
            f"{room} positions of {path}; use at most {room - prompt}"
        )
    return prompt + exam.max_response_length


def run_eval_sets(plan: EvaluationPlan, output: Path, tell: ReportProgress, say: Callable[[str], None]) -> list[Result]:
    """Returns the results, in the order of the evaluation sets. Results in `output` with the same recipe are reused."""
    output.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    sampler = None
    for exam in plan.eval_sets:
        recipe = recipe_of(plan, exam)
        kept, changed = saved(output, exam.name, recipe)
        if kept is not None:
            say(f"{exam.name}: already in {output}")
            results.append(kept)
            continue
        if changed:
            say(f"{exam.name}: made again, the one in {output} has another '{changed}'")
        sampler = sampler or load_sampler(plan)
        results.append(run_eval_set(plan, exam, sampler, output, recipe, tell))
    return results


def run_eval_set(
    plan: EvaluationPlan, exam: EvalSet, sampler: Any, output: Path, recipe: dict[str, Any], tell: ReportProgress
) -> Result:
    from tgpo.evaluation.accuracy import evaluate
    from tgpo.seeds import derived_seed

    options = plan.request.options
    evaluation = evaluate(
        exam,
        sampler,
        plan.tokenizer,
        exam.sampling(derived_seed(options.seed, "eval", 0)),
        options.eval.rows_at_once,
        options.eval.pass_at,
        lambda done, total: tell(exam.name, done, total),
    )
    public = exam.questions is not plan.request.task
    made = result(exam.name, public, evaluation, exam.samples, options.seed, recipe)
    save(output, made, evaluation)
    return made


def recipe_of(plan: EvaluationPlan, exam: EvalSet) -> dict[str, Any]:
    """Returns everything that a result depends on; a stored result with another recipe is not reused."""
    options, sections = plan.request.options, plan.request.resolved["eval"]["benchmarks"]
    own = exam.questions is plan.request.task
    return {
        "weights": weights_of(plan.folder),
        **{name: plan.request.resolved["student"][name] for name in ("config", "chat_template", "end_tokens")},
        "source": plan.request.resolved["task"] if own else sections[exam.name],
        "problems": fingerprint(exam.eval_problems()),
        "samples": exam.samples,
        "temperature": exam.temperature,
        "max_response_length": exam.max_response_length,
        "seed": options.seed,
        "rows_at_once": options.eval.rows_at_once,
        "pass_at": options.eval.pass_at,
        "rollout": options.rollout.backend,
        "dtype": options.train.dtype,
    }


def load_sampler(plan: EvaluationPlan) -> Any:
    """Returns the rollout engine that a run would use, with the checkpoint's weights."""
    from tgpo.build.load import load_rollout, load_student, prepare

    options = plan.request.options
    sampler = load_rollout(plan.request, load_student(options, prepare(options)), plan.longest)
    sampler.sync(0)
    return sampler
