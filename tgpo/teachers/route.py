"""Which of several teachers a problem belongs to. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from tgpo.errors import RequestError
from tgpo.types.problem import Problem

BY_TASK = "task"  # the route that takes the name of the problem's task


def routed(problem: Problem, route: str | None, teachers: Sequence[str]) -> int:
    """Returns the number of a problem's teacher, among those of these names.

    `route` says where the name is: `task`, or one of the texts in `Problem.extra`; None where there is one teacher.
    Raises RequestError if no teacher has the name that stands there.
    """
    if route is None:
        return 0
    name = problem.task if route == BY_TASK else problem.extra.get(route, "")
    if name not in teachers:
        raise RequestError(
            f"teacher.route={route}: the problem {problem.id} has {name!r} there, which is no teacher's name; the "
            f"teachers are {', '.join(teachers)}"
        )
    return list(teachers).index(name)
