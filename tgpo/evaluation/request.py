"""Turns the arguments of `tgpo evaluate` into a checked request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tgpo.config.check import check
from tgpo.config.compose import composed
from tgpo.config.request import Request
from tgpo.errors import RequestError, did_you_mean
from tgpo.evaluation.locate import Located, locate
from tgpo.runs.keys import option_of

SHORT = ("checkpoint", "output")  # for evaluation.checkpoint and evaluation.output
AS_THE_RUN = ("max_response_length", "temperature", "samples_per_problem", "pass_at")  # of `eval`, taken from the run


def request_of(arguments: Sequence[str]) -> tuple[Request, Located, Path]:
    """Returns the checked request, the checkpoint and the output folder.

    The request's student is the checkpoint; a run's checkpoint also gets that run's task, sampling and end tokens,
    except where the arguments give others.
    """
    words = [f"evaluation.{a}" if a.split("=")[0] in SHORT else a for a in arguments]
    given = {option_of(word) for word in words}
    of_task = [word for word in words if word.lstrip("+~").startswith("task.")]  # a run's task may lack them
    resolved = composed("evaluation", [word for word in words if word not in of_task])
    own = resolved.pop("evaluation")
    if not isinstance(own, dict):
        raise RequestError(f"evaluation={own}: it is a section; give its options, as checkpoint=PATH")
    if unknown := sorted(set(own) - set(SHORT)):
        raise RequestError(f"'evaluation.{unknown[0]}' is not an option{did_you_mean(unknown[0], SHORT)}")
    if own["checkpoint"] in (None, ""):
        raise RequestError("say what is evaluated: checkpoint=PATH")
    if given & {"student", "student.path", "student.name"}:
        raise RequestError("checkpoint=PATH says what is evaluated; leave student out")
    located = locate(str(own["checkpoint"]))
    if located.run is not None and "task" not in given:
        if of_task:
            raise RequestError(f"{of_task[0]}: the task is that of {located.run}; to set its options, give task= too")
        resolved["task"] = located.run_config()["task"]
    elif of_task:
        resolved["task"] = composed("evaluation", words)["task"]
    resolved["student"] |= {"name": located.slug, "path": located.model}
    if located.run is not None and "student.end_tokens" not in given:
        resolved["student"]["end_tokens"] = located.run_config()["student"].get("end_tokens", [])
    if located.run is not None and "student.date" not in given:
        resolved["student"]["date"] = located.run_config()["student"].get("date")
    if located.run is not None and "eval" not in given:
        of_run = located.run_config().get("eval", {})
        resolved["eval"] |= {key: of_run[key] for key in AS_THE_RUN if key in of_run and f"eval.{key}" not in given}
    group = next((word.split("=")[1] for word in words if word.startswith("eval=")), "greedy")
    parent = Path("outputs", "evaluation", located.slug)
    if located.run is not None:
        parent = located.run / "evaluation" / Path(located.model).parent.name
    output = Path(own["output"] or parent / group)
    return check(resolved), located, output
